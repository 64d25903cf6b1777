import { Hono } from 'hono';

const app = new Hono();

app.get('/hello', (context) => context.json({ message: 'Hello WASM!' }));

// Answers the `fetch` events of the component's JavaScript engine.
app.fire();

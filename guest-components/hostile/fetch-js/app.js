// Answers with the event `fetch`, which an instance has once. `/throw` throws before it has an answer.

addEventListener('fetch', (event) => {
  const { pathname } = new URL(event.request.url);
  if (pathname === '/throw') undefined.x;
  event.respondWith(new Response('hi'));
});

//! Tests of `pipe`.

use std::task::{Context, Poll, Waker};

use super::pipe::{CAPACITY, Found, PipeEnd, Reader, Room, Writer, pipe};

fn room(writer: &Writer) -> Poll<Room> {
    writer.poll_room(&mut Context::from_waker(Waker::noop()))
}

fn found(reader: &Reader) -> Poll<Found> {
    reader.poll_found(&mut Context::from_waker(Waker::noop()))
}

fn take(reader: &Reader, most: usize) -> Vec<u8> {
    reader.read(|bytes| {
        let taken = &bytes[..most.min(bytes.len())];
        (taken.len(), taken.to_vec())
    })
}

#[test]
fn bytes_come_out_in_order_and_before_the_end() {
    let (writer, reader) = pipe();
    assert_eq!(found(&reader), Poll::Pending);
    assert_eq!(writer.write(b"one "), 4);
    assert_eq!(writer.write(b"two"), 3);
    writer.finish();
    let mut all = Vec::new();
    while found(&reader) == Poll::Ready(Found::Bytes) {
        all.extend(take(&reader, 2));
    }
    assert_eq!(all, b"one two");
    assert_eq!(found(&reader), Poll::Ready(Found::PipeEnd(PipeEnd::Finished)));
}

#[test]
fn it_holds_so_much_and_no_more() {
    let (writer, reader) = pipe();
    let many = vec![7; CAPACITY + 1];
    assert_eq!(writer.write(&many), CAPACITY);
    assert_eq!((writer.write(b"x"), room(&writer)), (0, Poll::Pending));
    assert_eq!(take(&reader, 5).len(), 5);
    assert_eq!(room(&writer), Poll::Ready(Room::Bytes(5)));
}

#[test]
fn who_is_dropped_in_the_middle_breaks_it() {
    let (writer, reader) = pipe();
    writer.write(b"half");
    drop(writer);
    assert_eq!(take(&reader, 9), b"half");
    assert_eq!(found(&reader), Poll::Ready(Found::PipeEnd(PipeEnd::Broken)));
}

#[test]
fn nothing_is_kept_for_a_reader_that_is_gone() {
    let (writer, reader) = pipe();
    writer.write(b"for nobody");
    drop(reader);
    assert_eq!(room(&writer), Poll::Ready(Room::Closed));
    assert_eq!(writer.write(b"more"), 4);
}

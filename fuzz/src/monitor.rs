//! What must hold of any packet between a monitor and its clients.

use husk_engine::monitor::protocol::{Event, MAX_DATA, Request};

/// Whether the bytes are a message to one side or the other. A message that is encoded again
/// is read as what it was.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let request = Request::decode(bytes);
    if let Some(request) = &request {
        assert_eq!(Request::decode(&request.encode()).as_ref(), Some(request));
    }
    let event = Event::decode(bytes);
    if let Some(event) = &event {
        let again = Event::decode(&event.encode());
        match event {
            // Words that are not UTF-8 grow when they are read, and are then cut.
            Event::Notice(text) if text.len() > MAX_DATA => {
                assert!(again.is_some());
            }
            Event::Failed(failure) if failure.message.len() > MAX_DATA / 8 => {
                assert!(again.is_some());
            }
            event => assert_eq!(again.as_ref(), Some(event)),
        }
    }
    request.is_some() || event.is_some()
}

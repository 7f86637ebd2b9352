use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::error::Error;

fn journal(directory: &tempfile::TempDir, limit: u64) -> Journal {
    Journal { directory: directory.path().join("events"), limit }
}

fn numbered(number: u64) -> Event {
    let actor = Actor { id: format!("{number:064}"), attributes: BTreeMap::new() };
    Event { typ: EventType::Container, action: "start".to_owned(), actor, time_nano: number }
}

/// What the journal has by now: times of events, and lengths of what is damaged, negative.
fn content(journal: &Journal) -> Vec<i64> {
    let request =
        EventRequest { since: Some((0, 0)), until: Some(clock::now()), ..EventRequest::default() };
    let mut found = Vec::new();
    read(journal, &request, &mut |entry| {
        found.push(match entry {
            Entry::Event(event) => event.time_nano as i64,
            Entry::Damage(damage) => -(damage.length as i64),
        });
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn writers_do_not_break_each_others_records() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(&directory, LIMIT);
    std::thread::scope(|scope| {
        for writer in 0..8_u64 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..200 {
                    journal.record(&[numbered(writer * 1000 + number), numbered(writer)]);
                }
            });
        }
    });
    let found = content(&journal);
    assert_eq!(found.len(), 8 * 400);
    for pair in found.chunks(2) {
        assert_eq!(pair[0] / 1000, pair[1], "two events of one call follow each other");
    }
}

#[test]
fn bounded_and_followed_across_replacement() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(&directory, 4096);
    let (seen, done) = (RefCell::new(Vec::new()), "done");
    std::thread::scope(|scope| {
        let writer = journal.clone();
        let (mine, theirs) = UnixStream::pair().unwrap();
        scope.spawn(move || {
            // Until the reader is there.
            let _ = std::io::Read::read(&mut &mine, &mut [0]);
            for number in 1..=500 {
                writer.record(&[numbered(number)]);
            }
        });
        let request = EventRequest { since: Some((0, 0)), ..EventRequest::default() };
        // An event that tells that the reader reads.
        journal.record(&[numbered(0)]);
        let ended = read(&journal, &request, &mut |entry| {
            if seen.borrow().is_empty() {
                drop(theirs.shutdown(std::net::Shutdown::Both));
            }
            let Entry::Event(event) = entry else { return Err(Error::other("damage")) };
            seen.borrow_mut().push(event.time_nano);
            match event.time_nano {
                500 => Err(Error::other(done)),
                _ => Ok(()),
            }
        });
        assert_eq!(ended.unwrap_err().to_string(), done);
    });
    let seen = seen.into_inner();
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "in order");
    for name in [JOURNAL, OLDER] {
        let length = std::fs::metadata(journal.directory.join(name)).unwrap().len();
        assert!(length <= 4096, "{name}: {length} bytes");
    }
}

#[test]
fn a_reader_is_stopped_by_its_descriptor() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(&directory, LIMIT);
    let (mine, theirs) = UnixStream::pair().unwrap();
    let request = EventRequest { stop: Some(theirs.into()), ..EventRequest::default() };
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&journal, &request, &mut |_| Ok(())));
        drop(mine);
        reader.join().unwrap().unwrap();
    });
}

#[test]
fn ends_when_it_is_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(&directory, LIMIT);
    let (seconds, nanoseconds) = clock::now();
    let until = if nanoseconds < 900_000_000 {
        (seconds, nanoseconds + 100_000_000)
    } else {
        (seconds + 1, nanoseconds - 900_000_000)
    };
    let request = EventRequest { until: Some(until), ..EventRequest::default() };
    let begun = std::time::Instant::now();
    read(&journal, &request, &mut |_| Ok(())).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn damage_is_skipped_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(&directory, LIMIT);
    let line = |number| {
        let mut bytes = serde_json::to_vec(&numbered(number)).unwrap();
        bytes.push(b'\n');
        bytes
    };
    let whole = line(1);
    let path = journal.directory.join(JOURNAL);
    std::fs::create_dir(&journal.directory).unwrap();
    for cut in (1..whole.len() - 1).step_by(9) {
        let first = whole.get(..cut).unwrap();
        // At the end, before another, and in front of zeros.
        std::fs::write(&path, first).unwrap();
        assert_eq!(content(&journal), [-(cut as i64)], "cut at {cut}");
        journal.record(&[numbered(2)]);
        assert_eq!(content(&journal), [-(cut as i64), 2], "cut at {cut}");
        std::fs::write(&path, [first, &[0; 100], &line(3)].concat()).unwrap();
        assert_eq!(content(&journal), [-(cut as i64) - 100, 3], "cut at {cut}");
    }
    let no_end = whole.get(..whole.len() - 1).unwrap();
    std::fs::write(&path, [no_end, &line(2)].concat()).unwrap();
    assert_eq!(content(&journal), [-(no_end.len() as i64), 2], "only the line feed is lost");
    std::fs::write(&path, [&line(1)[..], &[0; 3000], &line(2), b"\n[]\n", &line(3)].concat())
        .unwrap();
    assert_eq!(content(&journal), [1, -3000, 2, -2, 3]);
    // As large as the journal can be, and more than a record can.
    std::fs::write(&path, [vec![0; 3 << 20], line(2)].concat()).unwrap();
    assert_eq!(content(&journal), [-(3 << 20), 2]);
}

#[test]
fn what_cannot_be_written_fails_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let journal = journal(&directory, LIMIT);
    std::fs::write(&journal.directory, b"").unwrap();
    journal.record(&[numbered(1)]);
    std::fs::remove_file(&journal.directory).unwrap();
    std::fs::create_dir(&journal.directory).unwrap();
    let path = journal.directory.join(JOURNAL);
    // Neither a directory, nor a link's target, nor a FIFO without a reader.
    std::fs::create_dir(&path).unwrap();
    journal.record(&[numbered(1)]);
    std::fs::remove_dir(&path).unwrap();
    let target = directory.path().join("target");
    std::fs::write(&target, b"kept").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    journal.record(&[numbered(1)]);
    assert_eq!(std::fs::read(&target).unwrap(), b"kept");
    std::fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    journal.record(&[numbered(1)]);
    let request = EventRequest { since: Some((0, 0)), ..EventRequest::default() };
    assert!(read(&journal, &request, &mut |_| Ok(())).is_err());
}

#[test]
fn documents_are_dockers() {
    let attributes = [("image", "bb"), ("name", "c1"), ("exitCode", "0")];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let event = Event {
        typ: EventType::Container,
        action: "die".to_owned(),
        actor: Actor { id: "4c66".to_owned(), attributes: attributes.into() },
        time_nano: 1_796_069_156_900_340_350,
    };
    assert_eq!(
        event.to_docker_json(true),
        r#"{"status":"die","id":"4c66","from":"bb","Type":"container","Action":"die","Actor":{"ID":"4c66","Attributes":{"exitCode":"0","image":"bb","name":"c1"}},"scope":"local","time":1796069156,"timeNano":1796069156900340350}"#
    );
    assert!(event.to_docker_json(false).starts_with(r#"{"Type":"container","Action":"die","#));
}

//! Pulls an image into a store: `pull STORE REFERENCE`.

use std::process::ExitCode;

use husk_image::progress::{Event, Progress};
use husk_image::reference::Reference;
use husk_image::registry::{Client, ClientOptions, DockerConfig, PullOptions, pull};
use husk_image::store::Store;

struct Lines;

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        if !matches!(event, Event::Transferred(..) | Event::Unpacked(..)) {
            println!("{event:?}");
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(root), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pull STORE REFERENCE".into());
    };
    let store = Store::open(root)?;
    let reference: Reference = name.parse()?;
    let path = DockerConfig::default_path().ok_or("no home")?;
    let credentials = DockerConfig::load(&path)?.credentials(reference.registry())?;
    let client = Client::new(&reference, ClientOptions { credentials, ..ClientOptions::default() });
    let pulled = pull(&store, &client, &reference, &PullOptions::default(), &Lines)?;
    println!("{}", pulled.target);
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pull: {error}");
            ExitCode::FAILURE
        }
    }
}

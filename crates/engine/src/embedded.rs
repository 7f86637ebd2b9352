//! What runs with nothing pulled: `hello`, and this machine itself as `host`.

use std::io::BufReader;

use husk_image::archive::{ImportOptions, import};
use husk_image::config::RunConfig;
use husk_image::facts::Facts;
use husk_image::progress::Silent;
use husk_image::registry::PullOptions;
use husk_image::store::ImageRecord;

use crate::error::{Result, file};
use crate::home::Home;

/// Whether the word means this machine's own root: where no image has that name.
///
/// # Errors
/// An unreadable store.
pub fn is_host(home: &Home, image: &str) -> Result<bool> {
    Ok(image == "host" && home.images()?.find_reference(&"host:latest".parse()?)?.is_none())
}

/// What an image of this machine would say.
pub fn host_facts() -> Facts {
    Facts { working_dir: "/".to_owned(), ..Facts::default() }
}

/// The program of the image `hello`: static, and all that is in it.
static HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));

/// The image `hello`, made at its first use of what is in our own executable; `None` for
/// any other name.
///
/// # Errors
/// The store's.
pub fn image(home: &Home, name: &str) -> Result<Option<ImageRecord>> {
    if name != "hello" && name != "hello:latest" {
        return Ok(None);
    }
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(HELLO.len() as u64);
    header.set_entry_type(tar::EntryType::Regular);
    let archive = tar
        .append_data(&mut header, "hello", HELLO)
        .and_then(|()| tar.into_inner())
        .map_err(file("pack", "hello"))?;
    let config = RunConfig { entrypoint: Some(vec!["/hello".to_owned()]), ..RunConfig::default() };
    let options = ImportOptions {
        config,
        message: Some("the program hello that comes with husk".to_owned()),
        reference: Some("hello:latest".parse()?),
    };
    let pull = PullOptions::default();
    let stream = BufReader::new(archive.as_slice());
    Ok(Some(import(&home.images()?, stream, options, &pull, &Silent)?))
}

//! How registries are asked: what an image's tag means when a service is asked for, and by agents.

use std::io::Write;
use std::time::Duration;

use super::typing;
use crate::cli::resolving::Resolving;
use crate::cli::settings::SettingsFile;
use crate::image::{self, PullOptions, usual_credentials};
use crate::intent::{Image, Reference};

/// How long a registry may say nothing. It is asked while somebody waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// The image with its digest, where a registry tells it; as it is, with a warning, where none does.
pub fn resolved(image: Image, asked: &Resolving) -> Image {
    let Image::Oci(reference @ Reference::Registry(_)) = &image else { return image };
    if asked.no_resolve_image {
        return image;
    }
    let options = PullOptions {
        insecure: asked.registries.insecure.clone(),
        credentials: asked.registries.credentials.clone().or_else(usual_credentials),
        patience: PATIENCE,
        ..PullOptions::default()
    };
    match image::pinned(reference, &options) {
        Ok(pinned) => Image::Oci(pinned),
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "warning: image {reference} has no digest recorded, so each node runs what the tag means when it \
                 brings the image: {error}"
            );
            image
        }
    }
}

/// As this machine's configuration file says: an agent has no other word on it. The file is read each time.
///
/// # Errors
/// When it cannot be read, or says what cannot be.
pub fn settled() -> Result<PullOptions, String> {
    let file = typing::file(None).map_err(|failure| failure.problem)?;
    Ok(file.as_ref().map_or_else(PullOptions::default, options))
}

fn options(file: &SettingsFile) -> PullOptions {
    let insecure = file.value("insecure-registry").unwrap_or_default();
    let insecure = insecure.split(',').map(str::trim).filter(|registry| !registry.is_empty());
    PullOptions {
        insecure: insecure.map(str::to_owned).collect(),
        credentials: file.value("credentials").map(Into::into),
        ..PullOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_asks_as_the_file_says() {
        let text = "insecure-registry = \"10.0.0.5:5000, b.example\"\ncredentials = \"/c.json\"\n";
        let file = SettingsFile::parse("x".as_ref(), text, &crate::cli::command()).unwrap();
        let asked = options(&file);
        assert_eq!(asked.insecure, ["10.0.0.5:5000", "b.example"]);
        assert_eq!(asked.credentials.as_deref(), Some("/c.json".as_ref()));
        let nothing = SettingsFile::parse("x".as_ref(), "", &crate::cli::command()).unwrap();
        assert_eq!(options(&nothing).credentials, None);
    }
}

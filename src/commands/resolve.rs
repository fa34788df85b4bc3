//! Recording what an image's tag means when it is asked for.

use std::io::Write;
use std::time::Duration;

use crate::cli::resolving::Resolving;
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

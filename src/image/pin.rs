//! What a tag of a registry means now.

use super::error::ImageError;
use super::pull::PullOptions;
use super::source::Registry;
use crate::intent::Reference;

/// The same image by its digest too, so that it means the same everywhere and later; what has one already, or
/// is of no registry, stays as it is. Of an image for several platforms, it is that of their list.
///
/// # Errors
/// When the registry does not answer, or does not have the image for who asks.
pub fn pinned(reference: &Reference, options: &PullOptions) -> Result<Reference, ImageError> {
    match reference {
        Reference::Registry(named) if named.digest.is_none() => {
            let digest = Registry::connect(named, options)?.digest()?;
            let mut named = named.clone();
            named.digest = Some(digest);
            Ok(Reference::Registry(named))
        }
        other => Ok(other.clone()),
    }
}

//! Bringing an image here.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::config::Document;
use super::error::ImageError;
use super::index::{Image, Name};
use super::layer::{Budget, Collected, Found, Held, Incoming};
use super::platform::Platform;
use super::sha256;
use super::source::{self, Offered, OfferedLayer, Source, Told};
use super::store::Store;
use crate::clock;
use crate::environment::variable;
use crate::intent::reference::{Digest, Reference};

/// How many layers are brought at once, as Docker does.
const AT_ONCE: usize = 3;
/// Most layers of an image: those of more do not fit into one overlayfs anyway.
const MOST_LAYERS: usize = 500;

/// How an image shall be brought.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Registries, as HOST or HOST:PORT, that may be asked without TLS, or with certificates that
    /// nobody vouches for. Those on this machine's loopback always may.
    pub insecure: Vec<String>,
    /// Docker's file of credentials, `config.json`; none asks without.
    pub credentials: Option<PathBuf>,
    /// For what it shall be built.
    pub platform: Platform,
    pub limits: Limits,
    /// How long a registry may say nothing before it is asked again.
    pub patience: Duration,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            credentials: None,
            platform: Platform::here(),
            limits: Limits::default(),
            patience: Duration::from_secs(30),
        }
    }
}

/// Where Docker's commands keep the credentials of who runs this; none for who has no home.
pub fn usual_credentials() -> Option<PathBuf> {
    let directory = variable("DOCKER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let in_home = || variable("HOME").map(|home| PathBuf::from(home).join(".docker"));
    Some(directory.or_else(in_home)?.join("config.json"))
}

/// What an image may be at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All its layers unpacked, in bytes.
    pub bytes: u64,
    /// The files, directories and links of one layer.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, files: 4_000_000 }
    }
}

/// What happens while an image is brought, for who looks on. Layers are done on several threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The image is known: what its layers are called, and what there is to bring of each, in bytes.
    Resolved { layers: Vec<(Digest, u64)> },
    /// It was here before; nothing is brought.
    Present,
    /// The layer of that place is here already.
    LayerPresent(usize),
    /// Somebody else brings this layer; it is waited for.
    LayerAwaited(usize),
    /// So many more bytes of it came.
    LayerBytes(usize, u64),
    /// The registry broke off, and is asked again from there on.
    LayerResumed(usize, u64),
    /// The layer is kept.
    LayerDone(usize),
}

/// Who looks on.
pub trait Progress: Sync {
    fn tell(&self, event: Event);
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn tell(&self, _: Event) {}
}

impl Store {
    /// Brings an image here, or as much of it as is missing, under its name. Where a name was here before and
    /// stands for another image now, it is that one's. Several may do so at once; each layer is brought once.
    ///
    /// # Errors
    /// Why it is not here. Nothing half is left; layers that are whole stay, for the next time.
    pub fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Digest, ImageError> {
        if let Reference::Rootfs(path) = reference {
            return self.keep_rootfs(reference, path);
        }
        self.collect(Collected::Unfinished)?;
        let source = source::open(reference, options, self.root())?;
        let offered = source.find(&options.platform)?;
        let image = Coming::of(reference, offered, options)?;
        if self.is_whole(&image.id)? {
            self.name(reference, &image)?;
            progress.tell(Event::Present);
            return Ok(image.id);
        }
        progress.tell(Event::Resolved { layers: image.announced() });
        let bringing = Bringing {
            store: self,
            source: source.as_ref(),
            image: &image,
            budget: Budget::new(options.limits.bytes),
            files: options.limits.files,
            progress,
            next: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            held: Mutex::default(),
        };
        bringing.all()?;
        self.note(reference, &image)?;
        // Only now may others collect what no image has.
        drop(bringing);
        Ok(image.id)
    }

    /// Whether an image is here with all its layers.
    fn is_whole(&self, id: &Digest) -> Result<bool, ImageError> {
        let Some(image) = self.index()?.images.remove(id) else { return Ok(false) };
        for layer in &image.layers {
            if self.layer_record(layer)?.is_none() {
                return Ok(false);
            }
        }
        Ok(self.document(id).is_ok())
    }

    /// Gives an image that is here a name more.
    fn name(&self, reference: &Reference, image: &Coming) -> Result<(), ImageError> {
        self.edit(|index| {
            if !index.images.contains_key(&image.id) {
                // Somebody removed it this very moment.
                return Err(ImageError::NotHere { reference: reference.to_string() });
            }
            if let Some((digest, manifest)) = image.manifest() {
                self.keep(&self.blob_path(digest), manifest)?;
            }
            index.names.insert(reference.clone(), image.named());
            Ok(())
        })
    }

    /// Notes an image whose layers are all here.
    fn note(&self, reference: &Reference, image: &Coming) -> Result<(), ImageError> {
        self.edit(|index| {
            self.keep(&self.blob_path(&image.id), &image.offered.config)?;
            if let Some((digest, manifest)) = image.manifest() {
                self.keep(&self.blob_path(digest), manifest)?;
            }
            let mut size = 0;
            for layer in &image.document.rootfs.diff_ids {
                let record = self.layer_record(layer)?;
                let record = record.ok_or_else(|| ImageError::NoLayer { layer: layer.clone() })?;
                size += record.size;
            }
            let held = Image {
                layers: image.document.rootfs.diff_ids.clone(),
                size,
                created: image.document.created.clone(),
                pulled: clock::millis(),
                rootfs: None,
            };
            index.images.insert(image.id.clone(), held);
            index.names.insert(reference.clone(), image.named());
            Ok(())
        })
    }

    /// Notes a directory as an image. It stays where it is.
    fn keep_rootfs(&self, reference: &Reference, path: &Path) -> Result<Digest, ImageError> {
        let metadata = std::fs::metadata(path).map_err(ImageError::file("looked at", path))?;
        if !metadata.is_dir() {
            return Err(ImageError::NoDirectory(path.to_owned()));
        }
        let id = sha256(reference.to_string().as_bytes());
        let image = Image {
            layers: Vec::new(),
            size: 0,
            created: None,
            pulled: clock::millis(),
            rootfs: Some(path.to_owned()),
        };
        self.edit(|index| {
            index.images.entry(id.clone()).or_insert(image);
            index.names.insert(reference.clone(), Name { id: id.clone(), digest: None });
            Ok(())
        })?;
        Ok(id)
    }
}

/// An image on its way.
struct Coming {
    id: Digest,
    document: Document,
    offered: Offered,
}

impl Coming {
    /// # Errors
    /// When what was offered is no image for this platform.
    fn of(
        reference: &Reference,
        offered: Offered,
        options: &PullOptions,
    ) -> Result<Self, ImageError> {
        let no_image =
            |reason: String| ImageError::NoImage { place: reference.to_string(), reason };
        let document = Document::parse(&offered.config).map_err(|error| {
            no_image(format!("has a configuration that cannot be read: {error}"))
        })?;
        let layers = document.rootfs.diff_ids.len();
        if layers != offered.layers.len() {
            let other = offered.layers.len();
            return Err(no_image(format!(
                "has {layers} layers by its configuration, and {other} by its manifest"
            )));
        }
        if layers == 0 {
            return Err(no_image("has no layers".into()));
        }
        if layers > MOST_LAYERS {
            return Err(no_image(format!("has {layers} layers, and {MOST_LAYERS} are the most")));
        }
        let is_for_another = |platform: &Platform| options.platform.distance_to(platform).is_none();
        if let Some(there) = document.platform().filter(is_for_another) {
            let wanted = options.platform.clone();
            return Err(ImageError::Platform { wanted, there: vec![there] });
        }
        Ok(Self { id: sha256(&offered.config), document, offered })
    }

    fn announced(&self) -> Vec<(Digest, u64)> {
        let diff_ids = self.document.rootfs.diff_ids.iter();
        let announced = diff_ids.zip(&self.offered.layers).map(|(diff_id, layer)| {
            let name = layer.promise.digest.as_ref().unwrap_or(diff_id);
            (name.clone(), layer.promise.size.unwrap_or_default())
        });
        announced.collect()
    }

    /// The manifest, where its bytes are what its digest says: that of an index is not kept.
    fn manifest(&self) -> Option<(&Digest, &[u8])> {
        let (digest, bytes) = (self.offered.digest.as_ref()?, self.offered.manifest.as_deref()?);
        super::hash::Hash::is_of(digest, bytes).then_some((digest, bytes))
    }

    fn named(&self) -> Name {
        Name { id: self.id.clone(), digest: self.offered.digest.clone() }
    }
}

/// The layers of an image, brought by several threads.
struct Bringing<'a> {
    store: &'a Store,
    source: &'a dyn Source,
    image: &'a Coming,
    budget: Budget,
    files: u64,
    progress: &'a dyn Progress,
    /// The layer that nobody has begun with.
    next: AtomicUsize,
    /// One failed: the others need not go on.
    is_over: AtomicBool,
    held: Mutex<Vec<Held>>,
}

impl Bringing<'_> {
    fn all(&self) -> Result<(), ImageError> {
        let workers = AT_ONCE.min(self.image.offered.layers.len());
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| self.some())).collect();
            let ended = workers.into_iter().map(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            // The first that failed says why; others only were told to stop.
            let failed = ended.filter_map(Result::err);
            let is_reason = |error: &ImageError| !matches!(error, ImageError::Stopped);
            failed.max_by_key(is_reason).map_or(Ok(()), Err)
        })
    }

    fn some(&self) -> Result<(), ImageError> {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let diff_ids = &self.image.document.rootfs.diff_ids;
            let (Some(diff_id), Some(layer)) =
                (diff_ids.get(at), self.image.offered.layers.get(at))
            else {
                return Ok(());
            };
            match self.one(at, diff_id, layer) {
                Ok(held) => self.held.lock().unwrap_or_else(PoisonError::into_inner).push(held),
                Err(error) => {
                    self.is_over.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }

    fn one(&self, at: usize, diff_id: &Digest, layer: &OfferedLayer) -> Result<Held, ImageError> {
        let awaited = || self.progress.tell(Event::LayerAwaited(at));
        let alone = match self.store.find_layer(diff_id, awaited)? {
            Found::Here(held) => {
                self.progress.tell(Event::LayerPresent(at));
                return Ok(held);
            }
            Found::Missing(alone) => alone,
        };
        let looking = Looking { bringing: self, at };
        looking.may_go_on()?;
        let bytes = Counted { inner: self.source.open(layer, &looking)?, looking: &looking };
        let (promise, budget, files) = (&layer.promise, &self.budget, self.files);
        let incoming = Incoming { diff_id, promise, budget, files };
        let held = self.store.bring_layer(alone, &incoming, bytes)?;
        self.progress.tell(Event::LayerDone(at));
        Ok(held)
    }
}

/// Who looks at one layer.
struct Looking<'a> {
    bringing: &'a Bringing<'a>,
    at: usize,
}

impl Looking<'_> {
    fn may_go_on(&self) -> Result<(), ImageError> {
        match self.bringing.is_over.load(Ordering::Relaxed) {
            true => Err(ImageError::Stopped),
            false => Ok(()),
        }
    }
}

impl Told for Looking<'_> {
    fn resumed(&self, at: u64) {
        self.bringing.progress.tell(Event::LayerResumed(self.at, at));
    }
}

/// A layer's bytes, counted as they come.
struct Counted<'a> {
    inner: source::Bytes<'a>,
    looking: &'a Looking<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.looking.may_go_on().map_err(io::Error::other)?;
        let length = self.inner.read(buffer)?;
        let event = Event::LayerBytes(self.looking.at, length as u64);
        self.looking.bringing.progress.tell(event);
        Ok(length)
    }
}

//! How a pull goes on: bars on a terminal, lines elsewhere, nothing when quiet.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::image::{Event, Progress};
use crate::render::figure;

/// How a bar looks: Docker's, with our words.
const BAR: &str = "{prefix}: {msg:<12} [{bar:40}] {bytes:>10}/{total_bytes}";
const SMALL: &str = "{prefix}: {msg}";

/// One bar for each layer.
pub struct Bars {
    how: How,
    layers: Mutex<Vec<Layer>>,
}

enum How {
    Silent,
    Lines,
    Bars(MultiProgress),
}

struct Layer {
    name: String,
    size: u64,
    came: u64,
    bar: Option<ProgressBar>,
}

impl Bars {
    pub fn new(quiet: bool) -> Self {
        let how = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => How::Silent,
            (false, true) => How::Bars(MultiProgress::new()),
            (false, false) => How::Lines,
        };
        Self { how, layers: Mutex::default() }
    }

    /// Leaves what is shown as it is.
    pub fn end(&self) {
        for layer in self.layers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(bar) = &layer.bar {
                bar.abandon();
            }
        }
    }

    fn line(&self, text: &str) {
        if matches!(self.how, How::Lines) {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    fn begin(&self, layers: Vec<(crate::image::Digest, u64)>) {
        let made = layers.into_iter().map(|(digest, size)| {
            let name = digest.short().to_owned();
            let bar = match &self.how {
                How::Bars(all) => {
                    let bar = all.add(ProgressBar::new(size));
                    bar.set_style(style(BAR));
                    bar.set_prefix(name.clone());
                    bar.set_message("Waiting");
                    Some(bar)
                }
                _ => None,
            };
            Layer { name, size, came: 0, bar }
        });
        *self.layers.lock().unwrap_or_else(PoisonError::into_inner) = made.collect();
    }

    /// Says how a layer is now.
    fn tell_of(&self, at: usize, message: &str, is_over: bool) {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(layer) = layers.get(at) else { return };
        self.line(&format!("{}: {message}", layer.name));
        if let Some(bar) = &layer.bar {
            bar.set_message(message.to_owned());
            if is_over {
                bar.set_style(style(SMALL));
                bar.abandon();
            }
        }
    }

    fn count(&self, at: usize, bytes: u64) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(layer) = layers.get_mut(at) else { return };
        if layer.came == 0 && bytes > 0 {
            self.line(&format!("{}: pulling {}", layer.name, figure::size(layer.size)));
        }
        layer.came += bytes;
        if let Some(bar) = &layer.bar {
            bar.set_message(if layer.came < layer.size { "Pulling" } else { "Unpacking" });
            bar.set_position(layer.came);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Progress for Bars {
    fn tell(&self, event: Event) {
        match event {
            Event::Resolved { layers } => self.begin(layers),
            Event::Present => self.line("Image is up to date"),
            Event::LayerPresent(at) => self.tell_of(at, "Already here", true),
            Event::LayerAwaited(at) => self.tell_of(at, "Waiting for who brings it", false),
            Event::LayerBytes(at, bytes) => self.count(at, bytes),
            Event::LayerResumed(at, from) => {
                let message = format!("Broke off, resumed at {}", figure::size(from));
                self.tell_of(at, &message, false);
            }
            Event::LayerDone(at) => self.tell_of(at, "Pull complete", true),
        }
    }
}

//! The thread that all connections to etcd live on. Callers wait for it; it waits for nobody.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// HTTP/2, TLS and protobuf.
const STACK: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Runtime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            // Told so or left alone, it ends.
            let _ended = runtime.block_on(stopped);
        };
        let thread = thread::Builder::new().name("etcd".into()).stack_size(STACK).spawn(run)?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn wait_for<T>(&self, answer: impl Future<Output = T>) -> T {
        self.handle.block_on(answer)
    }

    /// What makes connections must be called inside.
    pub(super) fn inside<T>(&self, make: impl FnOnce() -> T) -> T {
        let _entered = self.handle.enter();
        make()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

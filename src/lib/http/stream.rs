//! A connection that tells whether its client is behind: whether bytes wait that it has not taken.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_io_timeout::TimeoutStream;

/// How many connections have something to write and can't.
#[derive(Debug, Clone, Default)]
pub(super) struct Behind(Arc<AtomicUsize>);

impl Behind {
    pub(super) fn is_any(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

/// A connection on which nothing is written for longer than a timeout only if it is closed.
#[derive(Debug)]
pub(super) struct Stream {
    inner: Pin<Box<TimeoutStream<TcpStream>>>,
    behind: Behind,
    is_behind: bool,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, write_timeout: Duration, behind: Behind) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_timeout));
        Self {
            inner: Box::pin(stream),
            behind,
            is_behind: false,
        }
    }

    fn note<T>(&mut self, written: Poll<T>) -> Poll<T> {
        let is_behind = written.is_pending();
        if is_behind != self.is_behind {
            match is_behind {
                true => self.behind.0.fetch_add(1, Relaxed),
                false => self.behind.0.fetch_sub(1, Relaxed),
            };
            self.is_behind = is_behind;
        }
        written
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.note(Poll::Ready(()));
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.inner.as_mut().poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.inner.as_mut().poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_shutdown(context)
    }
}

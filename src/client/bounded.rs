//! Limits on what a server may send: the bytes and the depth of one element.
//!
//! The XML parser bounds names, attributes and pieces of text, but not how many of them make up an element. Before
//! TLS anybody on the way can write here, so both limits hold from the first byte on.
//!
//! Must not know: what an element means.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use xmpp_parsers::minidom::Element;
use xso::exports::rxml::{AttrMap, Event, QName};
use xso::{FromEventsBuilder, FromXml};

/// An element from the server, at most [`MAX_DEPTH`] levels deep.
#[derive(Debug)]
pub(super) struct Bounded(pub(super) Element);

/// Builds a [`Bounded`] from parser events.
pub(super) struct Builder {
    depth: usize,
    inner: <Element as FromXml>::Builder,
}

impl FromEventsBuilder for Builder {
    type Output = Bounded;

    fn feed(
        &mut self,
        event: Event,
        context: &xso::Context<'_>,
    ) -> Result<Option<Bounded>, xso::error::Error> {
        match event {
            Event::StartElement(..) => self.depth += 1,
            Event::EndElement(..) => self.depth = self.depth.saturating_sub(1),
            Event::Text(..) | Event::XmlDeclaration(..) => {}
        }
        if self.depth > MAX_DEPTH {
            return Err(xso::error::Error::Other(
                "the server sent an element that is nested too deeply",
            ));
        }
        Ok(self.inner.feed(event, context)?.map(Bounded))
    }
}

impl FromXml for Bounded {
    type Builder = Builder;

    fn from_events(
        name: QName,
        attributes: AttrMap,
        context: &xso::Context<'_>,
    ) -> Result<Builder, xso::error::FromEventsError> {
        Ok(Builder {
            depth: 1,
            inner: Element::from_events(name, attributes, context)?,
        })
    }
}

/// A connection that stops reading when an element is larger than allowed.
#[derive(Debug)]
pub(super) struct Limited<Io> {
    io: BufReader<Io>,
    remaining: AtomicUsize,
}

/// The server sent more than allowed in one element: its fault, and the stream can't go on.
#[derive(Debug, thiserror::Error)]
#[error("the server sent more than this client accepts in one element")]
pub(super) struct TooLarge;

impl<Io: AsyncRead> Limited<Io> {
    pub(super) fn new(io: Io, max_bytes: usize) -> Self {
        Self {
            io: BufReader::new(io),
            remaining: AtomicUsize::new(max_bytes),
        }
    }

    /// Lets the server send up to `max_bytes` from here on.
    pub(super) fn allow(&self, max_bytes: usize) {
        self.remaining.store(max_bytes, Ordering::Relaxed);
    }

    /// The bytes that were read and not yet parsed.
    pub(super) fn unread(&self) -> &[u8] {
        self.io.buffer()
    }

    pub(super) fn into_inner(self) -> Io {
        self.io.into_inner()
    }

    pub(super) fn inner(&self) -> &Io {
        self.io.get_ref()
    }
}

impl<Io: AsyncRead + Unpin> AsyncBufRead for Limited<Io> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        let remaining = this.remaining.load(Ordering::Relaxed);
        if remaining == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TooLarge)));
        }
        let bytes = ready!(Pin::new(&mut this.io).poll_fill_buf(context))?;
        Poll::Ready(Ok(bytes.get(..remaining).unwrap_or(bytes)))
    }

    fn consume(self: Pin<&mut Self>, bytes: usize) {
        let this = self.get_mut();
        let left = this.remaining.load(Ordering::Relaxed).saturating_sub(bytes);
        this.remaining.store(left, Ordering::Relaxed);
        Pin::new(&mut this.io).consume(bytes);
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Limited<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.as_mut().poll_fill_buf(context))?;
        let taken = bytes.get(..into.remaining()).unwrap_or(bytes);
        into.put_slice(taken);
        let count = taken.len();
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Limited<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

/// Deeper than any element of the protocols we speak, shallow enough for any stack.
const MAX_DEPTH: usize = 64;

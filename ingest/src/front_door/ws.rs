//! MQTT in WebSocket frames ([MQTT-6.0.0-1] to [MQTT-6.0.0-4]), on the same port as plain MQTT: the
//! first byte tells them apart, because no HTTP request begins with the first byte of CONNECT.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A stream whose first bytes have been looked at.
#[derive(Debug)]
pub(crate) struct Peeked<S> {
    first: Bytes,
    stream: S,
}

/// Looks at the first byte of a stream.
///
/// # Errors
/// When there is none.
pub(crate) async fn peek<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(u8, Peeked<S>)> {
    let first = stream.read_u8().await?;
    let first_bytes = Bytes::copy_from_slice(&[first]);
    Ok((
        first,
        Peeked {
            first: first_bytes,
            stream,
        },
    ))
}

impl<S: AsyncRead + Unpin> AsyncRead for Peeked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.has_remaining() && to.remaining() > 0 {
            let n = self.first.len().min(to.remaining());
            to.put_slice(&self.first.split_to(n));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Peeked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The bytes inside the binary frames of a WebSocket. A packet may lie in several frames, and a
/// frame may hold several packets.
#[derive(Debug)]
pub(crate) struct WebSocket<S> {
    inner: WebSocketStream<S>,
    rest: Bytes,
}

fn subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request
        .headers()
        .get_all("sec-websocket-protocol")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .find(|offer| matches!(*offer, "mqtt" | "mqttv3.1"));
    match offered {
        Some(offer) => {
            let value = HeaderValue::from_str(offer).unwrap_or(HeaderValue::from_static("mqtt"));
            response.headers_mut().insert("sec-websocket-protocol", value);
            Ok(response)
        }
        None => {
            let mut refusal = ErrorResponse::new(Some("the subprotocol `mqtt`, please\n".to_owned()));
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            Err(refusal)
        }
    }
}

/// # Errors
/// When the peer doesn't speak WebSocket, or not with the subprotocol `mqtt`.
pub(crate) async fn accept<S>(stream: S, max_packet: usize) -> Result<WebSocket<S>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A frame needn't be a packet: what bounds a packet bounds a frame as well.
    let config = WebSocketConfig::default()
        .max_message_size(Some(max_packet.max(64 << 10)))
        .max_frame_size(Some(max_packet.max(64 << 10)))
        .write_buffer_size(0);
    let inner = tokio_tungstenite::accept_hdr_async_with_config(stream, subprotocol, Some(config))
        .await
        .map_err(|error| error.to_string())?;
    Ok(WebSocket {
        inner,
        rest: Bytes::new(),
    })
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::new(ErrorKind::ConnectionAborted, other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                None | Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                // Answered by the library, with the next write.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                // [MQTT-6.0.0-1]
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, "a text frame")));
                }
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let n = self.rest.len().min(to.remaining());
        to.put_slice(&self.rest.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.inner).poll_ready(cx)).map_err(broken)?;
        Pin::new(&mut self.inner)
            .start_send(Message::Binary(Bytes::copy_from_slice(from)))
            .map_err(broken)?;
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.inner).poll_close(cx)) {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }
}

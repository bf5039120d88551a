//! WebSockets as a server has them (RFC 6455, sections 5 to 7).
//!
//! Tungstenite does the handshake and knows how the head of a frame is written. The rest is here,
//! since that library makes room for a whole frame once its head has come and keeps the room of the
//! longest there ever was, which would be most of what an idle peer costs; and it reads frames of
//! a message that never ends without a word to its caller.
//!
//! Here nothing has room but what has come of a message, and between messages nothing at all. A
//! message has at most [`MAX_MESSAGE`] bytes, its frames together at most [`MAX_FRAMES`]. All that
//! is read is counted. Extensions are not spoken.

use core::{
    future::poll_fn,
    mem::{self, MaybeUninit},
    pin::Pin,
    task::{Context, Poll, ready},
};
use shoal_protocol::rendezvous::MAX_MESSAGE;
use std::io::{self, Cursor};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// Bytes read at once; they lie on the stack. Signals come whole. Guess.
const READ: usize = 4 * 1024;
/// Bytes of the longest head: two, eight of a length, four of a mask.
const MAX_HEAD: usize = 14;
/// Bytes of the frames of one message, with their heads. Guess: no honest sender's frames have as
/// much head as content.
const MAX_FRAMES: usize = 2 * MAX_MESSAGE;
/// Bytes of the longest content of a control frame (section 5.5).
const MAX_CONTROL: u64 = 125;
/// Bytes of a message that are told of before it has come whole, so that they are counted as they
/// come. Guess: some percent of what it takes to check a message.
const PART: usize = 16 * 1024;
/// Bytes that are still read of a connection that is to be closed. Guess: as many as a peer lets
/// wait for a socket.
const MAX_UNHEARD: usize = 8 * MAX_MESSAGE;

/// What comes over a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A text.
    Text(String),
    /// A message that is no text.
    Binary,
    /// Wants a pong with the same content.
    Ping(Vec<u8>),
    /// Says nothing.
    Pong,
    /// A part of a message.
    Part,
    /// The peer sends nothing more.
    Close,
}

/// Why nothing more comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the peer went without a word")]
    Ended,
    #[error("the connection is lost: {0}")]
    Lost(#[from] io::Error),
    #[error(
        "a message has at most {} bytes, its frames at most {}",
        MAX_MESSAGE,
        MAX_FRAMES
    )]
    TooLong,
    #[error("a message is not UTF-8")]
    NotUtf8,
    #[error("not as RFC 6455 has it: {0}")]
    Malformed(&'static str),
}

/// See the [module](self).
pub(crate) struct WebSocket<S> {
    stream: S,
    decoder: Decoder,
    /// What was read beyond the last message, and how much of that is taken.
    ahead: Vec<u8>,
    taken: usize,
    read: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// A WebSocket whose handshake is over.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
            ahead: Vec::new(),
            taken: 0,
            read: 0,
        }
    }

    /// How many bytes were read since this was asked. What is read ahead counts with the message
    /// before it.
    pub fn take_read(&mut self) -> usize {
        mem::take(&mut self.read)
    }

    /// The next that comes. Dropped before, it loses nothing.
    pub async fn receive(&mut self) -> Result<Received, Broken> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, Broken>> {
        if !self.ahead.is_empty() {
            let mut input = &self.ahead[self.taken..];
            let received = self.decoder.take(&mut input);
            self.taken = self.ahead.len() - input.len();
            if input.is_empty() {
                self.ahead = Vec::new();
                self.taken = 0;
            }
            if let Some(received) = received? {
                return Poll::Ready(Ok(received));
            }
        }
        loop {
            let mut bytes = [const { MaybeUninit::uninit() }; READ];
            let mut bytes = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut bytes))?;
            let mut input = bytes.filled();
            if input.is_empty() {
                return Poll::Ready(Err(Broken::Ended));
            }
            self.read += input.len();
            let received = self.decoder.take(&mut input)?;
            if let Some(received) = received {
                self.ahead = input.to_vec();
                return Poll::Ready(Ok(received));
            }
            if self.read >= PART {
                return Poll::Ready(Ok(Received::Part));
            }
        }
    }

    /// Sends a text. Dropped before its end, the connection is of no use any more.
    pub async fn send(&mut self, text: String) -> io::Result<()> {
        self.write(OpCode::Data(Data::Text), text.into_bytes())
            .await
    }

    /// Answers a ping.
    pub async fn pong(&mut self, content: Vec<u8>) -> io::Result<()> {
        self.write(OpCode::Control(Control::Pong), content).await
    }

    /// Says goodbye and reads until the peer has closed too, so that what was written arrives: a
    /// socket closed with bytes unread is reset, and the peer would lose the last messages.
    pub async fn close(mut self: Box<Self>) -> io::Result<()> {
        self.write(OpCode::Control(Control::Close), Vec::new())
            .await?;
        self.stream.shutdown().await?;
        self.read = 0;
        poll_fn(|context| self.poll_end(context)).await
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.read <= MAX_UNHEARD {
            let mut bytes = [const { MaybeUninit::uninit() }; READ];
            let mut bytes = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut bytes))?;
            if bytes.filled().is_empty() {
                break;
            }
            self.read += bytes.filled().len();
        }
        Poll::Ready(Ok(()))
    }

    async fn write(&mut self, opcode: OpCode, content: Vec<u8>) -> io::Result<()> {
        let frame = frame(opcode, content);
        self.stream.write_all(&frame).await?;
        self.stream.flush().await
    }
}

/// A frame as a server sends it: alone, and not masked.
fn frame(opcode: OpCode, mut content: Vec<u8>) -> Vec<u8> {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let mut head = Vec::with_capacity(MAX_HEAD);
    // Writing to memory cannot fail.
    let _ = header.format(content.len() as u64, &mut head);
    content.splice(..0, head);
    content
}

/// Makes messages of bytes.
#[derive(Debug, Default)]
struct Decoder {
    /// The first bytes of a frame whose head has not come whole.
    head: [u8; MAX_HEAD],
    head_len: usize,
    frame: Option<Frame>,
    /// Whether the message of which frames have come, if there is one, is a text.
    is_text: Option<bool>,
    message: Vec<u8>,
    control: Vec<u8>,
    /// Bytes of the frames of this message.
    spent: usize,
}

/// A frame whose head has come.
#[derive(Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    /// As it applies to the next byte.
    mask: [u8; 4],
    left: usize,
}

impl Decoder {
    /// Takes bytes from the front of `input`, all of them or those up to the end of a message.
    fn take(&mut self, input: &mut &[u8]) -> Result<Option<Received>, Broken> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.take_head(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let (content, rest) = input.split_at(frame.left.min(input.len()));
            *input = rest;
            let to = match frame.opcode {
                OpCode::Control(_) => &mut self.control,
                OpCode::Data(_) => &mut self.message,
            };
            let start = to.len();
            to.extend_from_slice(content);
            unmask(&mut to[start..], frame.mask);
            frame.mask.rotate_left(content.len() % 4);
            frame.left -= content.len();
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            if let Some(received) = self.end(&frame)? {
                return Ok(Some(received));
            }
        }
    }

    /// Takes the head of a frame, or what there is of it.
    fn take_head(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Broken> {
        let before = self.head_len;
        let count = input.len().min(MAX_HEAD - before);
        self.head[before..before + count].copy_from_slice(&input[..count]);
        let mut head = Cursor::new(&self.head[..before + count]);
        let parsed = FrameHeader::parse(&mut head);
        let parsed = parsed.map_err(|_| Broken::Malformed("no frame has this kind"))?;
        let Some((header, length)) = parsed else {
            self.head_len += count;
            *input = &input[count..];
            return Ok(None);
        };
        let head_len = head.position() as usize;
        self.head_len = 0;
        *input = &input[head_len - before..];
        self.check(&header, head_len, length).map(Some)
    }

    fn check(
        &mut self,
        header: &FrameHeader,
        head_len: usize,
        length: u64,
    ) -> Result<Frame, Broken> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Broken::Malformed("no extension was agreed on"));
        }
        let Some(mask) = header.mask else {
            return Err(Broken::Malformed("a frame is not masked"));
        };
        let left = usize::try_from(length).map_err(|_| Broken::TooLong)?;
        match header.opcode {
            OpCode::Control(_) if !header.is_final || length > MAX_CONTROL => {
                return Err(Broken::Malformed("a control frame is too long, or a part"));
            }
            OpCode::Control(_) => {}
            OpCode::Data(kind) => {
                match (kind, self.is_text) {
                    (Data::Continue, Some(_)) => {}
                    (Data::Continue, None) => {
                        return Err(Broken::Malformed("no message goes on here"));
                    }
                    (_, Some(_)) => {
                        return Err(Broken::Malformed("a message begins within another"));
                    }
                    (kind, None) => self.is_text = Some(kind == Data::Text),
                }
                // Each is checked before it is added, so none overflows.
                if left > MAX_MESSAGE - self.message.len() {
                    return Err(Broken::TooLong);
                }
                self.spent += head_len + left;
                if self.spent > MAX_FRAMES {
                    return Err(Broken::TooLong);
                }
            }
        }
        Ok(Frame {
            opcode: header.opcode,
            is_final: header.is_final,
            mask,
            left,
        })
    }

    /// A frame has come whole: what it says, unless more of its message is to come.
    fn end(&mut self, frame: &Frame) -> Result<Option<Received>, Broken> {
        Ok(match frame.opcode {
            OpCode::Control(kind) => {
                let content = mem::take(&mut self.control);
                Some(match kind {
                    Control::Ping => Received::Ping(content),
                    Control::Close => Received::Close,
                    _ => Received::Pong,
                })
            }
            OpCode::Data(_) if !frame.is_final => None,
            OpCode::Data(_) => {
                self.spent = 0;
                let message = mem::take(&mut self.message);
                Some(match self.is_text.take() {
                    Some(true) => {
                        let text = String::from_utf8(message);
                        Received::Text(text.map_err(|_| Broken::NotUtf8)?)
                    }
                    _ => Received::Binary,
                })
            }
        })
    }
}

/// Section 5.3.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let (fours, rest) = bytes.as_chunks_mut::<4>();
    for four in fours {
        *four = (u32::from_ne_bytes(*four) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    /// The next that is no part, and how many bytes were read for it.
    async fn whole(socket: &mut WebSocket<DuplexStream>) -> (Result<Received, Broken>, usize) {
        let mut read = 0;
        loop {
            let received = socket.receive().await;
            read += socket.take_read();
            if !matches!(received, Ok(Received::Part)) {
                return (received, read);
            }
            assert!(read >= PART);
        }
    }

    /// A frame as a client sends it.
    fn sent(opcode: OpCode, is_final: bool, content: &[u8]) -> Vec<u8> {
        let mask = [7, 0, 255, 129];
        let header = FrameHeader {
            is_final,
            opcode,
            mask: Some(mask),
            ..FrameHeader::default()
        };
        let mut frame = Vec::new();
        header.format(content.len() as u64, &mut frame).unwrap();
        let start = frame.len();
        frame.extend(content);
        unmask(&mut frame[start..], mask);
        frame
    }

    const TEXT: OpCode = OpCode::Data(Data::Text);
    const MORE: OpCode = OpCode::Data(Data::Continue);
    const PING: OpCode = OpCode::Control(Control::Ping);

    /// Everything that comes of these bytes.
    fn decode(bytes: &[u8]) -> Result<Vec<Received>, Broken> {
        let (mut decoder, mut input, mut all) = (Decoder::default(), bytes, Vec::new());
        while let Some(received) = decoder.take(&mut input)? {
            all.push(received);
        }
        assert!(input.is_empty(), "all is taken");
        Ok(all)
    }

    #[test]
    fn what_the_rfc_has_as_examples() {
        // Section 5.7: "Hello", whole, in a ping, in two frames; and how a server sends it.
        let whole = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(decode(&whole).unwrap(), [Received::Text("Hello".into())]);
        let mut ping = whole;
        ping[0] = 0x89;
        assert_eq!(decode(&ping).unwrap(), [Received::Ping(b"Hello".into())]);
        assert_eq!(frame(TEXT, b"Hello".into()), b"\x81\x05Hello");
        assert_eq!(frame(TEXT, vec![b'a'; 256])[..4], [0x81, 0x7e, 0x01, 0x00]);
        let parts = [sent(TEXT, false, b"Hel"), sent(MORE, true, b"lo")].concat();
        assert_eq!(decode(&parts).unwrap(), [Received::Text("Hello".into())]);
    }

    #[test]
    fn what_the_rfc_forbids_is_said() {
        let first = sent(TEXT, false, b"a");
        let mut unmasked = sent(TEXT, true, b"");
        unmasked[1] &= 0x7f;
        let mut extended = sent(TEXT, true, b"");
        extended[0] |= 0x40;
        for bytes in [
            unmasked,
            extended,
            sent(MORE, true, b"a"),
            [&first[..], &first].concat(),
            sent(PING, false, b""),
            sent(PING, true, &[0; 126]),
            sent(OpCode::Data(Data::Reserved(3)), true, b""),
        ] {
            let broken = decode(&bytes);
            assert!(matches!(broken, Err(Broken::Malformed(_))), "{bytes:?}");
        }
        let invalid = sent(TEXT, true, &[0xff]);
        assert!(matches!(decode(&invalid), Err(Broken::NotUtf8)));
    }

    #[test]
    fn a_message_is_too_long_once_its_head_says_so() {
        let fits = sent(TEXT, true, &[b' '; MAX_MESSAGE]);
        assert_eq!(decode(&fits).unwrap().len(), 1);
        let head = &sent(TEXT, true, &[b' '; MAX_MESSAGE + 1])[..MAX_HEAD];
        assert!(matches!(decode(head), Err(Broken::TooLong)));
        let parts = [
            sent(TEXT, false, &[b' '; MAX_MESSAGE]),
            sent(MORE, true, b" "),
        ];
        assert!(matches!(decode(&parts.concat()), Err(Broken::TooLong)));
        let mut endless = sent(TEXT, true, b"");
        endless[1] |= 127;
        endless.splice(2..2, [0xff; 8]);
        assert!(matches!(decode(&endless), Err(Broken::TooLong)));
    }

    #[test]
    fn room_is_made_for_what_has_come_and_none_is_kept() {
        let mut decoder = Decoder::default();
        let large = sent(TEXT, true, &[b' '; MAX_MESSAGE]);
        let (first, rest) = large.split_at(100);
        assert!(decoder.take(&mut &first[..]).unwrap().is_none());
        assert!(decoder.message.capacity() < 200);
        assert!(decoder.take(&mut &rest[..]).unwrap().is_some());
        let ping = sent(PING, true, &[0; 100]);
        assert!(decoder.take(&mut &ping[..]).unwrap().is_some());
        let kept = [decoder.message.capacity(), decoder.control.capacity()];
        assert_eq!(kept, [0, 0]);
    }

    #[tokio::test]
    async fn frames_without_end_are_counted_and_end() {
        let (mut peer, stream) = duplex(1 << 20);
        let mut socket = WebSocket::new(stream);
        let first = sent(TEXT, false, b"");
        peer.write_all(&first).await.unwrap();
        let empty = sent(MORE, false, b"");
        // Pings between them make no difference.
        let ping = sent(PING, true, b"");
        let count = (MAX_FRAMES - first.len()) / empty.len();
        let mut all = 0;
        for n in 0..=count {
            peer.write_all(&empty).await.unwrap();
            if n % 10_000 == 0 {
                peer.write_all(&ping).await.unwrap();
                let (received, read) = whole(&mut socket).await;
                assert_eq!(received.unwrap(), Received::Ping(Vec::new()));
                all += read;
            }
        }
        let (ended, read) = whole(&mut socket).await;
        assert!(matches!(ended, Err(Broken::TooLong)), "{ended:?}");
        assert!(all + read > MAX_FRAMES);
    }

    #[tokio::test]
    async fn the_last_words_arrive_though_nobody_hears_the_peer() {
        let (mut peer, stream) = duplex(1024);
        let mut socket = Box::new(WebSocket::new(stream));
        let closing = async {
            socket.send("last".into()).await.unwrap();
            socket.close().await.unwrap();
        };
        let writing = async {
            peer.write_all(&[0; 100_000]).await.unwrap();
            let mut heard = Vec::new();
            peer.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"\x81\x04last\x88\x00");
            drop(peer);
        };
        tokio::join!(closing, writing);
    }

    #[tokio::test]
    async fn who_never_stops_sending_is_not_heard_out() {
        let (mut peer, stream) = duplex(1024);
        let closing = tokio::spawn(Box::new(WebSocket::new(stream)).close());
        let mut written = 0;
        while peer.write_all(&[0; 1024]).await.is_ok() {
            written += 1024;
        }
        closing.await.unwrap().unwrap();
        assert!((MAX_UNHEARD..2 * MAX_UNHEARD).contains(&written));
    }

    fn messages() -> impl Strategy<Value = Vec<(String, Vec<u16>, bool)>> {
        prop::collection::vec(
            (
                ".{0,600}",
                prop::collection::vec(0..400u16, 0..4),
                any::<bool>(),
            ),
            0..6,
        )
    }

    proptest! {
        /// However a message is cut into frames, and its frames into reads, it is the same.
        #[test]
        fn messages_come_as_they_were_sent(messages in messages(), reads in 1..900usize) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (text, cuts, pinged) in messages {
                let (mut rest, mut opcode) = (text.as_bytes(), TEXT);
                for cut in cuts {
                    let (part, others) = rest.split_at(rest.len().min(cut.into()));
                    bytes.extend(sent(opcode, false, part));
                    (rest, opcode) = (others, MORE);
                    if pinged {
                        bytes.extend(sent(PING, true, part.get(..9).unwrap_or_default()));
                        expected.push(Received::Ping(part.get(..9).unwrap_or_default().into()));
                    }
                }
                bytes.extend(sent(opcode, true, rest));
                expected.push(Received::Text(text));
            }
            prop_assert_eq!(&decode(&bytes).unwrap(), &expected);
            let (mut decoder, mut all) = (Decoder::default(), Vec::new());
            for mut input in bytes.chunks(reads) {
                while let Some(received) = decoder.take(&mut input).unwrap() {
                    all.push(received);
                }
            }
            prop_assert_eq!(all, expected);
        }

        /// Whatever comes, no more is held than came, or than a message may have.
        #[test]
        fn anything_may_come(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let (mut decoder, mut input) = (Decoder::default(), &bytes[..]);
            while let Ok(Some(_)) = decoder.take(&mut input) {}
            prop_assert!(decoder.message.len() + decoder.control.len() <= bytes.len());
        }
    }
}

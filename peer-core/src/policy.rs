//! How contents are fetched: every number that decides it.

use shoal_protocol::content::CHUNK_SIZE;
use std::time::Duration;

/// Chunks asked of a source before anything is known of it.
pub(crate) const WINDOW_START: usize = 4;
/// Fewest chunks asked of one source for each of its connections: one on its way, one it can
/// begin with.
pub(crate) const WINDOW_MIN: usize = 2;
/// Most chunks asked of one source at a time: 16 MiB cover 100 MB/s at 160 ms.
pub(crate) const WINDOW_MAX: usize = 64;
/// Most chunks asked of one peer for all contents: half of what it queues (`upload`), for it is
/// asked for proofs as well.
pub(crate) const OWED_MAX: usize = 128;
/// How much work a source is kept ahead of its fastest answer. Guess: a few round trips.
pub(crate) const WINDOW_AHEAD: Duration = Duration::from_millis(300);
/// How often the windows of peers that send for several fetches are shared out anew. Guess:
/// a few chunks of each.
pub(crate) const SHARE_INTERVAL: Duration = Duration::from_millis(250);
/// Chunks in flight and verified but not yet stored, over all fetches: the budget of
/// memory, whatever the size of a content. 32 MiB.
pub(crate) const IN_FLIGHT_MAX: usize = 32 * 1024 * 1024 / CHUNK_SIZE;
/// Chunks of one fetch that are being stored; those that come meanwhile are then stored as
/// one. Guess: covers the store's latency at 100 MB/s.
pub(crate) const WRITING_MAX: usize = 16;
/// Chunks looked at to find the rarest. Exact below 128 MiB, a random sample above.
pub(crate) const RAREST_SAMPLE: usize = 512;
/// A chunk is late, and is asked of a source with nothing else to do, once that source would
/// have answered so often since. Whoever took that long will hardly be done within one more
/// answer, whether slow, stalled or lying. Twice that for the fourth to be asked, and so on.
pub(crate) const HEDGE: u32 = 2;
/// Whose queue is longer is given its own time, up to this many times the other's: in a
/// crowd everybody's queue is long, and second copies would only make it longer.
pub(crate) const HEDGE_SPREAD: u32 = 2;
/// So many times longer while others are still to be asked for: nothing waits for it yet, and
/// in a crowd the line of whoever is asked is better used for another.
pub(crate) const HEDGE_EARLY: u32 = 4;
/// What a source owes is late when nothing came from it for so many of its answers, or of the
/// times between two of them where that is longer: a queue that is served moves.
pub(crate) const SILENT: u32 = 2;
/// A chunk is never late before this. Guess: above what a busy page adds to a round trip.
pub(crate) const HEDGE_MIN: Duration = Duration::from_millis(100);
/// When a chunk is late as long as nothing is known of the source that could be asked. Guess.
pub(crate) const HEDGE_START: Duration = Duration::from_millis(300);
/// A source that sent nothing new for so long, or four times its usual answer, has stalled:
/// it is asked for no more until it sends, and what it owes takes no room.
pub(crate) const STALL_MIN: Duration = Duration::from_secs(2);
/// No answer is waited for longer than this.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(10);
/// How often in a row a source may decline or go away owing something before it rests.
pub(crate) const DECLINES: u32 = 3;
/// How long a source rests that stalled or refused; then it is asked anew. Doubles each time
/// until a chunk comes. Guess: a frame of 64 KiB comes within it at 5 kB/s.
pub(crate) const REST: Duration = Duration::from_secs(15);
pub(crate) const REST_MAX: Duration = Duration::from_secs(240);
/// Sources of a fetch that went away and are remembered with their failures. Guess.
pub(crate) const FORMER_MAX: usize = 256;
/// A source from which no chunk came for so long takes no place among those that are wanted.
/// Guess: above the pauses of an honest one.
pub(crate) const PLACE: Duration = Duration::from_secs(5);
/// How long a proof answer may take before another source is asked as well, if there is one;
/// from the third on twice as long each time. Guess: above most round trips; asking once more
/// costs some 2 KiB of a small content.
pub(crate) const PROOF_HEDGE: Duration = Duration::from_millis(150);
/// Sources asked for one proof at a time.
pub(crate) const PROOF_ASKED: usize = 3;
/// So many times as long if some of an answer comes meanwhile: that of 4 GB has 490 KB.
pub(crate) const PROOF_DRIPS: u32 = 4;
/// How long nothing new of a proof answer may come.
pub(crate) const PROOF_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a fetch waits before it tries a full or failing store again.
pub(crate) const STORE_RETRY: Duration = Duration::from_secs(3);
/// Time between two reports of progress.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// What is read is asked for ahead of the reader: what comes in this time, within these bounds
/// in chunks. Guess: above the answer of a slow source; a quarter of the memory at most.
pub(crate) const READ_AHEAD: Duration = Duration::from_secs(1);
pub(crate) const READ_AHEAD_MIN: u32 = 8;
pub(crate) const READ_AHEAD_MAX: u32 = 32;
/// Chunks somebody waits to read that a source is asked for beyond its window, so that they do
/// not wait for room in it. As many as a stream reads at a time.
pub(crate) const READ_ROOM: usize = 4;
/// Sources a fetch wants links to. Guess: more bring little while links are dear.
pub(crate) const SOURCES_WANTED: usize = 8;

/// How long what is in a channel may take to leave it: control messages wait behind it. Some
/// less than the 50 ms they may wait, since rates waver.
pub(crate) const CHANNEL_AHEAD: Duration = Duration::from_millis(36);
/// What may wait in a channel of which nothing is known: the first flight of TCP (RFC 6928).
pub(crate) const WATER_START: usize = 16 * 1024;
/// How long a channel is measured. Guess: a few packets at 50 kB/s.
pub(crate) const WATER_ROUND: Duration = Duration::from_millis(25);
/// A channel that ran empty and carried less than this part of what it is taken to carry was
/// given enough. Guess: a browser may take as long again to ask for more.
pub(crate) const WATER_NEAR: f64 = 3.0;
/// No channel is taken to carry more bytes a second; no browser's does.
pub(crate) const WATER_RATE_MAX: f64 = 100e6;
/// Most bytes that may wait in a channel. With 16 MiB `bufferedamountlow` never fires in
/// Chromium (js-libp2p, pull request 2628).
pub(crate) const HIGH_WATER_MAX: usize = 1024 * 1024;
/// A link that takes nothing for so long has stalled.
pub(crate) const TAKES_NOTHING: Duration = Duration::from_secs(2);
/// A link so many times slower than another is not held to share its line. Guess.
pub(crate) const UNLIKE: f64 = 8.0;
/// So many times what it carries may wait for a link that gets less than others like it.
pub(crate) const CATCH_UP: f64 = 1.25;
/// Links that are served at a time, at least.
pub(crate) const TURNS: usize = 2;
/// Bytes a second sent in all for which one more link is served. A connection over 40 ms
/// carries 1 to 3 MB/s (`cargo xtask bench delay`), so a line that has room for more is used.
pub(crate) const RATE_PER_TURN: f64 = 2e6;
/// A link that takes longer than this for a chunk is not counted as served.
pub(crate) const TURN: Duration = Duration::from_secs(1);

/// Most lanes of a link, besides itself. Eight connections over 40 ms carry some four
/// times what one does (`cargo xtask bench delay`).
pub(crate) const LANES_MAX: usize = 3;
/// How long a link is measured before it is judged. Some windows of a far one.
pub(crate) const LANE_ROUND: Duration = Duration::from_millis(500);
/// Rounds in which lanes may come up to their rate.
pub(crate) const LANE_ROUNDS: u32 = 6;
/// How much more must come with lanes than without.
pub(crate) const LANE_GAIN: f64 = 1.3;
/// How long lanes are not tried again where they did not pay.
pub(crate) const LANE_REST: Duration = Duration::from_secs(60);
/// How long lanes that pay are kept before the link is measured without them again, at first;
/// doubles each time they still pay.
pub(crate) const LANE_KEEP: Duration = Duration::from_secs(60);
pub(crate) const LANE_KEEP_MAX: Duration = Duration::from_secs(480);
/// So many times sooner if less comes than lanes must bring. Guess: some rounds at least.
pub(crate) const LANE_DOUBT: u32 = 6;
/// Rounds in which a link may come up to its rate without lanes.
pub(crate) const LANE_ALONE: u32 = 4;
/// How long is waited for what a peer owes before its lanes are closed. Guess: some answers.
pub(crate) const LANE_DRAIN: Duration = Duration::from_secs(2);
/// Lanes over which nothing was asked for so long are closed.
pub(crate) const LANE_IDLE: Duration = Duration::from_secs(10);
/// Round trip below which one connection fills any line: its window of some hundred
/// kilobytes goes a hundred times a second.
pub(crate) const LANE_RTT_MIN: Duration = Duration::from_millis(10);
/// Bytes a second below which it is the source's line that limits, not the window.
pub(crate) const LANE_RATE_MIN: f64 = 400e3;
/// With more sources than this at a time their links are lanes enough; who sends to more
/// gives nobody lanes.
pub(crate) const LANE_SOURCES: usize = 3;

//! Every bound, with its reason. What is not bounded here is bounded by one of these.
//!
//! Bounds that an operator may set are in [`Options`](crate::server::Options); here stand their defaults.

/// Octets of a command line with its CRLF. RFC 5321 4.5.3.1.4 wants 512, MAIL and RCPT with the parameters of
/// RFC 1870, 3461, 4954 and 6531 want up to 1,600 more.
pub const COMMAND_LINE_MAX: usize = 2048;

/// Octets of an AUTH command, or of a response to it, with its CRLF (RFC 4954 4).
pub const AUTH_LINE_MAX: usize = 12_288;

/// Octets of one over-long command line that are read and thrown away before the connection is given up: whoever
/// sends that many speaks another protocol.
pub const COMMAND_LINE_DISCARD_MAX: usize = 64 * 1024;

/// Octets of a path with its angle brackets (RFC 5321 4.5.3.1.3).
pub const PATH_MAX: usize = 256;

/// Octets of a domain (RFC 5321 4.5.3.1.2), and of one of its labels (RFC 1035 2.3.4).
pub const DOMAIN_MAX: usize = 255;
/// See [`DOMAIN_MAX`].
pub const LABEL_MAX: usize = 63;

/// Recipients of a message by default. RFC 5321 4.5.3.1.8 wants at least 100; more than 1,000 is not mail but a list.
pub const RECIPIENTS_MAX_DEFAULT: usize = 1000;

/// Octets of all the forward-paths of a transaction: 1,000 recipients of the usual length with room to spare, so that
/// an envelope cannot become the memory hole that the data is not.
pub const ENVELOPE_MAX: usize = 128 * 1024;

/// Received fields after which a message is held to go in circles (RFC 5321 6.3 wants at least 100).
pub const RECEIVED_FIELDS_MAX: u32 = 100;

/// Negative replies to a client's mistakes in one session, before 421 ends it.
pub const SESSION_ERRORS_MAX: u32 = 20;

/// Replies that wait to be written, in octets. While there is no room for one more, nothing further is read: a slow
/// reader costs this much.
pub const OUTBOX_MAX: usize = 16 * 1024;

/// The longest single reply, all its lines: EHLO with every extension stays far below.
pub const REPLY_MAX: usize = 1024;

/// Octets of one line of a reply that our client takes, with its CRLF. RFC 5321 4.5.3.1.5 allows 512; twice that for those who count badly.
pub const REPLY_LINE_MAX: usize = 1024;

/// Lines of such a reply: EHLO's has one for each extension, of which not forty are registered.
pub const REPLY_LINES_MAX: usize = 128;

/// Iterations of SCRAM that our client makes at the most: about 3 s of one processor, 16 times what OWASP advises (600,000).
/// A server that asks for more wants our time, not our password.
pub const SCRAM_ITERATIONS_MAX: u32 = 10_000_000;
/// The fewest that it makes (RFC 7677 4): whoever poses as the server and asks for one learns passwords by guessing.
pub const SCRAM_ITERATIONS_MIN: u32 = 4096;

/// Octets of a SCRAM client's first message, which is kept while its exchange lasts, and whose nonce our challenge repeats:
/// the longest name and a nonce of 240. Those of today have 16 to 64.
pub const SCRAM_FIRST_MAX: usize = 512;

/// Octets of a mail's body that a client rather copies behind its head than sends as a piece of its own: writev costs
/// about 0.2 µs more than send, and so much is copied in less.
pub const BODY_JOINED_MAX: usize = 4096;

/// Octets of a user's name, and of a password, for AUTH: what a server must be able to take (RFC 4616 2).
pub const CREDENTIAL_MAX: usize = 255;
/// Iterations of SCRAM in an accounts file at the least: what OWASP advises for PBKDF2 with SHA-256. With fewer, a stolen
/// file's SCRAM keys would be guessed faster than its argon2 hashes.
pub const ACCOUNT_SCRAM_ITERATIONS: u32 = 600_000;
/// Memory of one argon2id hash in KiB, and passes over it: the second of OWASP's equal choices, 20 ms of one processor.
pub const ARGON2_MEMORY_KIB: u32 = 19 * 1024;
/// See [`ARGON2_MEMORY_KIB`].
pub const ARGON2_PASSES: u32 = 2;
/// The most memory in KiB that another's argon2id hash may ask for: one worker checks passwords, one after the other.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// The most lanes that it may ask for; we go through them one after the other.
pub const ARGON2_LANES_MAX: u32 = 16;
/// KiB times passes of a hash at the least: each of OWASP's choices has more.
pub const ARGON2_WORK_KIB_MIN: u64 = 32 * 1024;
/// KiB times passes at the most, about a second: longer, and a worker is no longer there for the others.
pub const ARGON2_WORK_KIB_MAX: u64 = 1024 * 1024;

/// Octets of a mail that a listing reads at the most: headers are far shorter, and 100,000 mails are to take seconds.
pub const HEADER_READ_MAX: usize = 64 * 1024;
/// How many it reads first: enough for the header of most.
pub const HEADER_READ_FIRST: usize = 4 * 1024;
/// Octets of one field that a reader of mail decodes: 400 recipients. Decoding takes longer than in proportion to a field's
/// length: much longer for those that are made for that.
pub const FIELD_READ_MAX: usize = 16 * 1024;
/// Levels of parts within parts that a reader of mail opens: each costs one more pass. Those of people have five.
pub const PARTS_DEPTH_MAX: usize = 32;
/// Parts of a mail that its reader opens: a tree of a million parts is not for reading.
pub const PARTS_MAX: usize = 10_000;
/// Octets of a mail that a reader of mail takes into memory to decode or search it; of a larger one there is the exact
/// content only.
pub const MAIL_READ_MAX: u64 = 512 * 1024 * 1024;
/// Octets of an attachment's file name: it fits every file system with `-9999` before its ending.
pub const ATTACHMENT_NAME_MAX: usize = 150;
/// Files of one name that attachments may have in one directory.
pub const ATTACHMENT_NAMESAKES_MAX: usize = 1000;
/// Mailboxes among which a mistyped one is looked for.
pub const MAILBOXES_COMPARED_MAX: usize = 100_000;
/// Octets of a line that our POP3 client takes from a server, but for a mail's and those of AUTH, which have
/// [`AUTH_LINE_MAX`] (RFC 2449 4).
pub const POP3_ANSWER_LINE_MAX: usize = 512;
/// Octets of a mail's unique id that it takes from a server: RFC 1939 7 has 70, some servers have more, as fetchmail knows.
pub const POP3_ID_MAX: usize = 128;
/// Mails of a maildrop that it lists: about 100 MiB of memory with ids of 20 octets, a few times that with the longest.
pub const POP3_MAILS_MAX: usize = 1_000_000;
/// Commands that it sends before it takes the answer to the first: their octets fit the server's receive buffer, so that no
/// side waits for the other.
pub const POP3_WINDOW: usize = 100;
/// Octets of the accounts file; an account has about 350, so 150,000 of them.
pub const ACCOUNTS_FILE_MAX: u64 = 64 * 1024 * 1024;
/// Passwords that wait for their check, some 20 ms each where their hashes are of our own making: whoever comes last waits
/// less than a second, and no client gives up. Further ones are put off (454).
pub const PASSWORDS_WAITING_MAX: usize = 32;
/// The most of them that are one client's, so that who floods the worker with guesses keeps nobody else out.
pub const PASSWORDS_WAITING_PER_CLIENT: usize = 4;
/// Milliseconds until a connection's first failed login is told so; for each further one they double.
pub const FAILED_LOGIN_DELAY_MS: u64 = 500;
/// Failed logins of one connection; the last is its end (421). People mistype twice.
pub const FAILED_LOGINS_PER_CONNECTION: u32 = 4;
/// Unknown recipients that a connection is told of; one more is its end (421).
pub const UNKNOWN_RECIPIENTS_PER_CONNECTION: u32 = 10;
/// Octets of an AUTH command with its CRLF; a longer first message waits for the server's 334 (RFC 4954 4).
pub const AUTH_COMMAND_MAX: usize = 512;

/// Octets of a POP3 command line with its CRLF. RFC 2449 4 wants 255; 7 more, and every name and password of
/// [`CREDENTIAL_MAX`] fits behind USER and PASS. Of AUTH and its responses, [`AUTH_LINE_MAX`].
pub const POP3_LINE_MAX: usize = 262;
/// Mistakes of a client in one POP3 session; the last is its end. A program makes none, and a person who tries things by
/// hand is told what is wrong each time.
pub const POP3_ERRORS_MAX: u32 = 10;
/// Octets of a message that a POP3 session asks for at once. Stuffed, they are at most twice as many, and wait in the
/// outbox: a slow reader costs 32 KiB. Larger parts would save jobs, not time: each is read while nothing else is done for
/// this client.
pub const POP3_PART: usize = 16 * 1024;
/// Octets of memory that such a part takes while it is read and stuffed: itself, and twice as much in the outbox.
pub const POP3_READ_MEMORY: usize = 3 * POP3_PART;
/// The part of the memory for mail that all maildrops together may have: mail that comes has three quarters of it whatever
/// readers do. Half of theirs is for listings, of which one of 10,000 messages takes 2 MB, and half for messages on their way
/// to clients; by default that is 32 MiB each, and so 680 parts at a time.
pub const POP3_MEMORY_DIVISOR: u64 = 4;
/// The part of the memory for listings, as a divisor, that one session may have: by default 8 MiB, for about 45,000 messages.
/// Of a larger mailbox it has the oldest, and the others once those are removed, so that no mailbox is too large to be
/// emptied; and it takes four such users to keep the others out.
pub const POP3_LISTINGS_SHARE: u64 = 4;
/// Messages that are removed or marked in one job: some 10 ms on a usual disk, after which others' mailboxes are listed, and a
/// stop is heeded.
pub const POP3_CHANGES_PER_JOB: usize = 500;
/// Seconds without a command after which somebody who reads mail is logged out, the least that RFC 1939 3 allows; nothing is
/// removed then. Who has not logged in has what SMTP's clients have.
pub const POP3_IDLE_SECS: u64 = 600;
/// Octets that the kernel is told to hold of what a client of POP3 has not taken yet; Linux makes twice as much of it. Left
/// alone it takes up to 4 MB of a message, outside of every budget, and lets us write again only when a third of them is
/// taken: a client of 10 KiB a second then seems to take nothing for two minutes. So a third are some 40 KiB, and a client at
/// the end of a line with a round trip of 100 ms still has 600 KiB a second.
pub const POP3_SEND_BUFFER: usize = 64 * 1024;
/// Seconds in which somebody who reads mail has to take some of what waits, as far as we see it: we hear of it by thirds
/// of [`POP3_SEND_BUFFER`], and a client whose own buffer is full says that there is room by a sixteenth of some MB. Both are
/// taken in time by who takes some KiB a second.
pub const POP3_WRITE_TIMEOUT_SECS: u64 = 300;
/// Seconds in which a client has to take what it is told at once, mostly a part of a message: 30 octets a second. A
/// session that reads has no other bound, so that a mail of 10 MiB comes through at the end of any line; and the memory of
/// its part is not held for ever.
pub const POP3_PART_SECS: u64 = 600;
/// Parts of messages that are with the reader at a time, each with its message's file open. There is one reader: more than
/// a few keep it no busier.
pub const POP3_READS_OUT_MAX: usize = 8;
/// Messages' files that stay open while their clients take a part. Those of further readers are closed, and opened anew for
/// the next part: that costs a few microseconds, and cuts off a message which another program removes meanwhile.
pub const POP3_FILES_KEPT_MAX: usize = 24;
/// Octets of a message's unique id (RFC 1939 7).
pub const POP3_UID_MAX: usize = 70;

/// Octets of plaintext, encrypted already, that wait for a TLS connection's stream: four full records, so that a large
/// mail is encrypted as it goes out and not held twice.
pub const TLS_UNSENT_MAX: usize = 64 * 1024;

/// Tickets that a session of TLS 1.3 is given to be resumed with: a client that opens two connections next has one for each
/// (RFC 8446 C.4). TLS 1.2 gives one.
pub const TLS_TICKETS: usize = 2;
/// Octets of plaintext that a part of a record left over from before may add to what is received: a whole record (RFC 8446
/// 5.1), and something for its head.
pub const TLS_RECORD_MAX: usize = 17 * 1024;

/// Octets of a file with certificates or a key: a chain is a few KiB, and a larger file is some other.
pub const TLS_FILE_MAX: u64 = 1 << 20;
/// Milliseconds between two looks whether such a file changed. One is read when it looks the same twice, so that what is
/// just being written, or a key that is renamed a moment behind its certificate, is not taken for broken.
pub const RELOAD_LOOK_MS: u64 = 1000;
/// Days before its end in which a certificate of our own making is replaced at a start, and another's is warned of.
pub const CERTIFICATE_DUE_DAYS: u64 = 14;

/// Handshakes that are answered in one turn, so that a storm of them does not stall the others. With an RSA key of 2048
/// bits one costs 231 us for the signature and about 100 us beside, so a turn's stay at 2 ms; with ECDSA it is a quarter
/// of that.
pub const HANDSHAKES_PER_TURN: usize = 6;
/// Unfinished handshakes at the same time. One costs 64 KiB at the worst, so they stay below 64 MiB. Beyond, the oldest
/// gives way: an honest client is done within a few round trips, whoever is there longest is least likely one, and were
/// the new one turned away then 1,024 that do nothing would keep everybody out.
pub const HANDSHAKES_MAX: usize = 1024;
/// Unfinished handshakes beyond which there is a storm: then they have [`HANDSHAKE_STORM_SECS`].
pub const HANDSHAKES_STORM: usize = 256;
/// Seconds that a handshake may take.
pub const HANDSHAKE_SECS: u64 = 10;
/// Seconds that it may take in a storm: enough for a slow line with one lost packet.
pub const HANDSHAKE_STORM_SECS: u64 = 3;

/// The receive buffer that the loop's sessions share, in octets: the most one connection is read in one system call.
/// Large enough that a megabyte takes a dozen calls, small enough for the processor's second-level cache.
pub const RECEIVE_BUFFER: usize = 128 * 1024;

/// Octets that are received at once while commands are awaited: a client that pipelines and never reads costs this much
/// carry beside its full outbox, 32 KiB in all.
pub const COMMANDS_RECEIVED_MAX: usize = 16 * 1024;

/// Octets that one connection may be read in one turn before the others have theirs.
pub const READ_PER_TURN: usize = 2 * RECEIVE_BUFFER;

/// Octets of mail data beyond which a message is large: its connection shares [`BULK_PER_TURN`].
pub const BULK_BEYOND: usize = 64 * 1024;
/// Octets that all connections with large messages may be read in one turn: what everybody's next command waits for, some
/// 0.3 ms; and more than a disk writes meanwhile.
pub const BULK_PER_TURN: usize = 1024 * 1024;

/// Connections accepted in one turn, so that a flood of them does not stop the sessions there are.
pub const ACCEPTS_PER_TURN: usize = 16;

/// Connections that the kernel may hold ready for us: a burst of thousands must not wait for SYN retransmissions.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Readiness events taken from the kernel in one turn.
pub const EVENTS_PER_TURN: usize = 1024;

/// Octets of input thrown away after a last reply, so that the close does not become a reset that destroys the reply.
pub const LINGER_MAX: usize = 64 * 1024;
/// Seconds that such throwing away lasts at the most.
pub const LINGER_SECS: u64 = 2;

/// Seconds in which a client has to take some of the replies that wait for it; who reads mail has
/// [`POP3_WRITE_TIMEOUT_SECS`].
pub const WRITE_TIMEOUT_SECS: u64 = 60;

/// The slowest mail data worth waiting for, in octets a minute (500 a second): below, it is an attack or a dead line.
pub const DATA_RATE_MIN_PER_MINUTE: u64 = 30_000;

/// Memory for all mail data that is not yet on disk, and all carries, by default.
pub const MEMORY_DEFAULT: u64 = 256 * 1024 * 1024;
/// The least memory for mail data: a few messages beside each other, each with what it keeps before it is spilled.
pub const MEMORY_MIN: u64 = 8 * 1024 * 1024;
/// The largest message by default.
pub const MESSAGE_SIZE_DEFAULT: u64 = 50 * 1024 * 1024;
/// The size of the spool by default.
pub const SPOOL_SIZE_DEFAULT: u64 = 4 * 1024 * 1024 * 1024;

/// Octets of mail data that a message keeps in memory: beyond, it is spilled to a file of its own. A mail of the usual
/// size takes the log, which is cheaper; what is larger pays for its file by its octets.
pub const SPILL_BEYOND: usize = 1024 * 1024;
/// By how much that is divided while half of the memory is in use: then also a mail with a small attachment goes to disk.
pub const SPILL_DIVISOR_WHEN_SHORT: usize = 16;
/// Octets of a spilled message that are written without a sync: what the log's next sync may have to wait for, about 2 ms
/// of a good disk. With 4 MiB, 200 messages of 50 MiB are taken in two thirds of the time, and small mail beside them
/// waits twice as long.
pub const SPILL_SYNC_OCTETS: u64 = 1024 * 1024;
/// The niceness of the thread that writes large messages, 0 to 19: the loop and the log come before it.
pub const BULK_NICENESS: i32 = 10;

/// Messages that wait for delivery. An entry costs 56 octets, so the queue stays below 64 MiB; 200 seconds of
/// acceptance at 5,000 a second more than is delivered.
pub const QUEUE_MAX: usize = 1_000_000;

/// Octets of a spool segment: large enough that a change of segment is rare (one in 50,000 messages of 1 KiB), small
/// enough to be written with zeros in less than a second.
pub const SEGMENT_SIZE: u64 = 64 * 1024 * 1024;

/// A batch begins on a multiple of this, so that a committed sector is never written again.
pub const BATCH_ALIGN: u64 = 4096;

/// The slices that one vectored write takes (Linux: UIO_MAXIOV).
pub const IOV_MAX: usize = 1024;
/// Slices of a batch: what one vectored write takes. A message needs two.
pub const BATCH_SLICES_MAX: usize = IOV_MAX;

/// Segments kept for recycling beyond the one that is next, as files: more would hold disk space for nothing.
pub const SEGMENTS_FREE_MAX: usize = 2;

/// Milliseconds after which settle records that found no batch to ride on are committed on their own.
pub const SETTLE_DELAY_MS: u64 = 1000;

/// Milliseconds until the spool tries again to make a segment for which there was no space.
pub const SPOOL_RETRY_MS: u64 = 1000;

/// Messages of one delivery job: large enough that its one `syncfs` is shared by many, small enough that the first
/// does not wait long for the last.
pub const DELIVERY_BATCH_MAX: usize = 512;
/// Octets of one delivery job, which the courier reads into memory.
pub const DELIVERY_BATCH_OCTETS_MAX: u64 = 8 * 1024 * 1024;

/// Attempts to deliver a message before it is set aside: a mailbox that is being mended gets it in order, and one that
/// is broken costs the log three seconds.
pub const DELIVERY_ATTEMPTS_MAX: u32 = 3;
/// Mailboxes remembered as those that remain of messages which others have taken, all messages together: at about 80
/// octets each the memory stays below 8 MB. What is not remembered is looked for in the Maildirs.
pub const MAILBOXES_REMAINING_MAX: usize = 100_000;

/// Held messages that one run tries again. An entry costs about 40 octets, so they stay below 8 MB. What is held beyond
/// is counted and waits for the next start.
pub const HELD_RETRIED_MAX: usize = 100_000;
/// Held messages in one delivery job: each is read whole to no avail, as a rule, while new mail waits behind it.
pub const HELD_BATCH_MAX: usize = 8;
/// Seconds until a held message is tried again, at first; they double at each attempt.
pub const HELD_RETRY_SECS_MIN: u64 = 60;
/// Seconds between two attempts at the most: a mended mailbox has its mail within the hour.
pub const HELD_RETRY_SECS_MAX: u64 = 3600;
/// Milliseconds between two looks for what the operator asked for, while anything is held.
pub const HELD_LOOK_MS: u64 = 1000;
/// Octets of the text in front of a held message's record: a few short lines, one of them a log value.
pub const HELD_NOTE_MAX: usize = 4096;
/// Orders of the operator's taken in one look; the rest have theirs a second later.
pub const ORDERS_MAX: usize = 1000;
/// Octets of a record up to its envelope's end, when a list is made of it: more than [`ENVELOPE_MAX`] can need, so what
/// says more is damaged.
pub const RECORD_HEAD_MAX: u64 = 1 << 20;

/// Deferred messages of one delivery job that the log names: a full disk would fill the log with the others.
pub const DEFERRED_TOLD_MAX: usize = 10;

/// Octets of one component of a mailbox's path; longer ones are cut to [`MAILBOX_NAME_KEPT`] and a hash. File systems
/// take 255, and the Maildir below needs none of it.
pub const MAILBOX_NAME_MAX: usize = 200;
/// See [`MAILBOX_NAME_MAX`].
pub const MAILBOX_NAME_KEPT: usize = 150;
/// Octets of a message's file name in a Maildir: it is the POP3 UIDL as well (RFC 1939 section 7).
pub const BASE_NAME_MAX: usize = 70;
/// Maildirs that are remembered as made. At a hundred octets each, and 400 at the most, the memory stays below 4 MB;
/// one that is forgotten costs three failing system calls.
pub const MAILDIRS_KNOWN_MAX: usize = 10_000;
/// Milliseconds for which it is believed how full a mailbox with a quota is.
pub const MAILBOX_MEASURED_MS: u64 = 60_000;
/// The same while it is full: so soon there is room for mail again when its reader removes some.
pub const FULL_MAILBOX_MEASURED_MS: u64 = 2000;
/// Octets compared at a time when a message is looked for in a Maildir after a restart.
pub const COMPARE_CHUNK: usize = 64 * 1024;

/// Octets of a trusted proxy's header (PROXY protocol): addresses and what else it tells, with room for a certificate's
/// name. Haproxy asks for room for 536 at the least.
pub const PROXY_HEADER_MAX: usize = 4096;
/// Seconds that a trusted proxy has for its header, which it sends first of all; more is a proxy that does not speak for
/// anybody, because nobody told it to.
pub const PROXY_HEADER_SECS: u64 = 10;

/// Clients (an IPv4 address or an IPv6 /64 each) whose connections, messages and mistakes are counted. At about 110 octets
/// each, tables that grow included, they stay below 16 MB. Beyond, those are forgotten that came longest ago: who owns a
/// /48 can make us forget, at the price of 32,768 connections from as many networks each time.
pub const CLIENTS_COUNTED_MAX: usize = 65_536;
/// Failed logins of one client in [`MISTAKES_WINDOW_MS`], before none of its further ones is looked at. A person who has
/// forgotten a password stays far below; who guesses has 2,880 attempts a day.
pub const FAILED_LOGINS_MAX: u32 = 20;
/// Unknown recipients of one client in [`MISTAKES_WINDOW_MS`], before it is told of no further ones. An old list of
/// addresses has a few, a dictionary has thousands.
pub const UNKNOWN_RECIPIENTS_MAX: u32 = 100;
/// Milliseconds for which a client's mistakes count.
pub const MISTAKES_WINDOW_MS: u64 = 600_000;

/// Characters of one logged value: the rest tells nothing that these do not.
pub const LOG_VALUE_MAX: usize = 256;
/// Log lines that wait for the writer; beyond, lines are dropped and counted, for the loop must not wait.
pub const LOG_QUEUE_MAX: usize = 8192;
/// Octets of one log line's text: with the queue it bounds the memory of a log that nobody reads.
pub const LOG_LINE_MAX: usize = 4096;
/// Milliseconds that the end of the process waits for the log to be written.
pub const LOG_FLUSH_MS: u64 = 2000;

/// Milliseconds that a start waits for a service manager that does not read what it is told; later, nothing waits for it.
pub const NOTIFY_WAIT_MS: u64 = 1000;

/// Octets of the longest word of a header field of one's own. A field is folded between words, and no line may have more than
/// 998 octets (RFC 5322 2.1.1); what is left of them is for the field's name.
pub const HEADER_WORD_MAX: usize = 900;
/// Octets of one line that a program hands to the menu: lines of mail have at most 998, paragraphs without a break some more.
pub const MENU_LINE_MAX: u64 = 64 * 1024;
/// Lines that the menu remembers for the arrow keys.
pub const MENU_HISTORY_MAX: usize = 100;
/// Mails on a page of the menu's list: a terminal of 24 lines shows them all.
pub const MENU_ROWS: usize = 20;
/// Octets of a text that is composed in the menu. What is larger is a file, and for `send`.
pub const COMPOSED_TEXT_MAX: usize = 1024 * 1024;

/// Connections, whatever the descriptors allow: containers often allow a thousand million, which is no bound.
pub const CONNECTIONS_MAX: usize = 1 << 20;
/// Connections for which addresses are set aside at the start (20 MB of them): growing step by step would leave the
/// allocator with a hole as large as the table itself.
pub const CONNECTIONS_RESERVED: usize = 1 << 16;
/// Descriptors kept from connections: for listeners, poll, spool, log and mailboxes, and for the messages that are being
/// read, so that however many readers there are, mail is still taken.
pub const DESCRIPTORS_RESERVED: usize = 64 + POP3_READS_OUT_MAX + POP3_FILES_KEPT_MAX;

/// Seconds that a command waits for a server, in each step of the dialogue: people look at the terminal meanwhile. The least
/// that RFC 5321 4.5.3.2 wants is minutes, for queues that nobody looks at: `--timeout` has that.
pub const DIAL_TIMEOUT_SECS_DEFAULT: u64 = 30;
/// Seconds that it waits for the reply to a mail, unless told otherwise (RFC 5321 4.5.3.2.6): who gives up earlier sends it
/// twice.
pub const DIAL_ACCEPT_SECS: u64 = 600;
/// Octets of a file that `send` takes: no server takes mail as large, and a device never ends.
pub const SEND_FILE_MAX: u64 = 1 << 30;
/// Octets of a text that it takes: a longer one is a file to be attached.
pub const SEND_TEXT_MAX: u64 = 64 << 20;
/// Seconds that it waits for the reply to QUIT: whoever is asked nothing more owes us little.
pub const DIAL_GOODBYE_SECS: u64 = 5;
/// Octets of an answer that must come within its time, for the rest to have as much again: a line of 1200 baud has more in
/// 30 seconds, and who sends less means to hold us.
pub const DIAL_PROGRESS_MIN: usize = 1024;
/// Milliseconds that each address of a server's is given at the least, when the time for all of them is nearly over.
pub const DIAL_STEP_MS_MIN: u64 = 100;

/// Octets of a configuration file; a larger one is some other file.
pub const CONFIG_FILE_MAX: u64 = 1 << 20;

// What must hold between them.
const _: () = assert!(AUTH_LINE_MAX < COMMANDS_RECEIVED_MAX && AUTH_LINE_MAX <= COMMAND_LINE_DISCARD_MAX);
const _: () = assert!(COMMAND_LINE_MAX <= AUTH_LINE_MAX && AUTH_COMMAND_MAX <= AUTH_LINE_MAX);
const _: () = assert!(SCRAM_FIRST_MAX > 240 + CREDENTIAL_MAX);
const _: () =
    assert!((SCRAM_FIRST_MAX + 192) * 4 / 3 <= REPLY_MAX, "a challenge in base64, with our nonce and a salt");
const _: () = assert!(POP3_LINE_MAX == "PASS \r\n".len() + CREDENTIAL_MAX && POP3_LINE_MAX <= AUTH_LINE_MAX);
const _: () = assert!(BASE_NAME_MAX == POP3_UID_MAX, "a message's name is its unique id");
const _: () = assert!(
    MEMORY_MIN / POP3_MEMORY_DIVISOR / 2 >= 16 * POP3_READ_MEMORY as u64,
    "with the least memory a few sessions still read at a time"
);
const _: () = assert!(
    POP3_SEND_BUFFER >= 2 * POP3_PART,
    "a part of a message, dots stuffed, is not written by bits to who takes it at once"
);
const _: () = assert!(
    POP3_PART_SECS > POP3_WRITE_TIMEOUT_SECS
        && POP3_WRITE_TIMEOUT_SECS > WRITE_TIMEOUT_SECS
        && POP3_IDLE_SECS >= 600
);
const _: () = assert!(COMMAND_LINE_MAX < RECEIVE_BUFFER, "a whole command line fits the receive buffer");
const _: () =
    assert!(COMMAND_LINE_MAX < COMMANDS_RECEIVED_MAX, "a whole command line fits what is received at once");
const _: () = assert!(SCRAM_ITERATIONS_MIN <= SCRAM_ITERATIONS_MAX);
const _: () = assert!(
    SCRAM_ITERATIONS_MIN <= ACCOUNT_SCRAM_ITERATIONS && ACCOUNT_SCRAM_ITERATIONS <= SCRAM_ITERATIONS_MAX,
    "our client takes what our server asks"
);
const _: () = assert!(ARGON2_MEMORY_KIB <= ARGON2_MEMORY_KIB_MAX);
const _: () = assert!((ARGON2_MEMORY_KIB * ARGON2_PASSES) as u64 >= ARGON2_WORK_KIB_MIN);
const _: () = assert!((ARGON2_MEMORY_KIB_MAX as u64) <= ARGON2_WORK_KIB_MAX);
const _: () = assert!(PATH_MAX - 2 <= CREDENTIAL_MAX, "every address is a possible user's name");
const _: () = assert!(PROXY_HEADER_MAX < COMMANDS_RECEIVED_MAX, "a header fits what is received at once");
const _: () = assert!(COMMANDS_RECEIVED_MAX + TLS_RECORD_MAX <= RECEIVE_BUFFER);
const _: () = assert!(HANDSHAKES_PER_TURN > 0 && HANDSHAKES_STORM < HANDSHAKES_MAX);
const _: () = assert!(HANDSHAKE_STORM_SECS < HANDSHAKE_SECS);
const _: () = assert!(COMMAND_LINE_DISCARD_MAX >= COMMAND_LINE_MAX);
const _: () = assert!(REPLY_MAX * 4 <= OUTBOX_MAX, "a full outbox is rare");
const _: () = assert!(SEGMENT_SIZE.is_multiple_of(BATCH_ALIGN));
const _: () = assert!(SPOOL_SIZE_DEFAULT >= 4 * SEGMENT_SIZE);
const _: () = assert!(MAILBOX_NAME_KEPT + 1 + 32 <= MAILBOX_NAME_MAX);
const _: () = assert!(MEMORY_DEFAULT >= MESSAGE_SIZE_DEFAULT, "one message fits the memory");
const _: () = assert!(MEMORY_MIN >= 4 * (SPILL_BEYOND + RECEIVE_BUFFER) as u64);
const _: () = assert!((SPILL_BEYOND + RECEIVE_BUFFER + ENVELOPE_MAX) as u64 * 2 < SEGMENT_SIZE);
const _: () = assert!(LOG_VALUE_MAX < LOG_LINE_MAX);
const _: () = assert!(LOG_VALUE_MAX + 100 < HELD_NOTE_MAX, "a reason and what stands around it");
const _: () =
    assert!(RECORD_HEAD_MAX >= 4 * ENVELOPE_MAX as u64, "8 octets beside 3 of the shortest address");
const _: () = assert!(HELD_BATCH_MAX < DELIVERY_BATCH_MAX, "new mail goes on beside held mail");
const _: () = assert!(HELD_RETRY_SECS_MIN <= HELD_RETRY_SECS_MAX);
const _: () = assert!(READ_PER_TURN >= RECEIVE_BUFFER);
const _: () = assert!(DIAL_TIMEOUT_SECS_DEFAULT <= DIAL_ACCEPT_SECS && DIAL_STEP_MS_MIN > 0);
const _: () = assert!(BULK_BEYOND < SPILL_BEYOND && BULK_PER_TURN >= READ_PER_TURN);

//! K-01 to K-25 against the running peer layer: bytes that broke other stacks, through a socket.
//!
//! Each time: the right error or a close with its reason, a probe that connects afterwards, and a
//! bystander's requests answered. K-18 (dictionary files), K-22 and K-23 (HTTP) meet no peer; they
//! are in tests/conformance/dictionary.rs and tests/system/api.rs.

use farebox::diameter::{AvpFlags, AvpId, patch_hop_by_hop};

use super::*;

/// A listener, and a peer of it that minds its own business.
struct Stage {
    server: Server,
    bystander: Client,
    asked: u64,
    probes: u32,
}

impl Stage {
    async fn new() -> Stage {
        let server = Server::with(|config| config.connections_per_address_max = 64, false).await;
        let mut bystander = Client::start(config(&server.address()));
        bystander.usable().await;
        Stage { server, bystander, asked: 0, probes: 0 }
    }

    /// The bystander is answered on the connection that it had all along, and a new peer gets in.
    async fn lives(&mut self, what: &str) {
        self.asked += 1;
        self.bystander.send(self.asked);
        let (token, answer) = self.bystander.answer().await;
        assert_eq!((token, answer.unsigned32(id::RESULT_CODE)), (self.asked, Some(2001)), "{what}");
        self.probes += 1;
        Script::open(&self.server.address(), &format!("probe-{}.example", self.probes)).await;
    }

    /// A connection that begins with these octets: the Result-Code of the CEA, if one comes, and
    /// whether the connection is still there.
    async fn greet(&mut self, what: &str, octets: &[u8]) -> (Option<u32>, bool) {
        let mut script = Script::connect(&self.server.address()).await;
        // The other end may close before all of it is written.
        let _ = script.socket.write_all(octets).await;
        let cea = script.read().await;
        let code = cea.and_then(|cea| cea.unsigned32(id::RESULT_CODE));
        let open = code == Some(2001);
        if code.is_some() && !open {
            assert!(script.read().await.is_none(), "{what}: closed after the CEA");
        }
        drop(script);
        self.lives(what).await;
        (code, open)
    }
}

/// A CER of `known.example` with these AVPs behind its own.
fn cer_and(avps: &[Avp]) -> Bytes {
    let mut message = cer("known.example");
    message.avps.extend(avps.iter().cloned());
    message.encode_as_is()
}

/// The same with octets behind it, which need not be AVPs.
fn cer_and_octets(octets: &[u8]) -> Vec<u8> {
    with_octets(&cer("known.example").encode(Dictionary::builtin()), octets)
}

fn with_octets(message: &[u8], octets: &[u8]) -> Vec<u8> {
    let mut bytes = [message, octets].concat();
    let length = u32::try_from(bytes.len()).expect("small").to_be_bytes();
    bytes[1..4].copy_from_slice(&length[1..]);
    bytes
}

/// A CER in which one AVP is another.
fn cer_but(avp: Avp) -> Bytes {
    let mut message = cer("known.example");
    for own in message.avps.iter_mut().filter(|own| own.id == avp.id) {
        *own = avp.clone();
    }
    message.encode_as_is()
}

#[tokio::test]
async fn k_01_k_20_lengths_that_cannot_be_close_the_connection_with_the_reason() {
    let mut stage = Stage::new().await;
    let huge = [1, 0xff, 0xff, 0xfc, 0x80];
    let lengths = (0..20u8).map(|length| vec![1, 0, 0, length, 0x80, 0, 1, 1]);
    for octets in lengths.chain([huge.to_vec(), vec![1, 0, 0, 21, 0x80, 0, 1, 1]]) {
        assert_eq!(stage.greet(&format!("{octets:?}"), &octets).await, (None, false));
        let fact = stage.server.fact(|fact| matches!(fact, Fact::BadFrame { .. })).await;
        let Fact::BadFrame { reason } = fact else { unreachable!() };
        assert!(reason.starts_with("bad length"), "{octets:?}: {reason}");
    }
}

#[tokio::test]
async fn k_02_k_03_k_07_k_08_k_11_broken_avps_in_a_cer_are_refused_with_their_code() {
    let mut stage = Stage::new().await;
    let octets = |id, octets: &[u8]| cer_but(Avp::octets(id, octets.to_vec()));
    for length in 8..12 {
        let avp = [0, 0, 3, 93, 0xc0, 0, 0, length, 0, 0, 0x28, 0xaf, 0, 0, 0, 0];
        let found = stage.greet("K-02", &cer_and_octets(&avp)).await;
        assert_eq!(found, (Some(5014), false), "K-02 {length}");
    }
    for length in [0, 1, 7] {
        let avp = [0, 0, 1, 8, 0x40, 0, 0, length, 97, 0, 0, 0];
        let found = stage.greet("K-03", &cer_and_octets(&avp)).await;
        assert_eq!(found, (Some(5014), false), "K-03 {length}");
    }
    for (address, code) in [
        (&[0, 0, 1, 2, 3, 4][..], 5004),
        (&[0, 3, 1, 2, 3, 4], 5004),
        (&[0xff, 0xff, 1, 2, 3, 4], 5004),
        (&[], 5014),
        (&[0], 5014),
        (&[0, 1, 1, 2, 3], 5014),
        (&[0, 1, 1, 2, 3, 4, 5], 5014),
    ] {
        let found = stage.greet("K-07", &octets(id::HOST_IP_ADDRESS, address)).await;
        assert_eq!(found, (Some(code), false), "K-07 {address:?}");
    }
    let found = stage.greet("K-08", &octets(id::ORIGIN_HOST, b"known\0.example")).await;
    assert_eq!(found, (Some(5004), false), "K-08");
    for length in [1, 2, 3, 5] {
        let found = stage.greet("K-11", &octets(id::VENDOR_ID, &vec![7; length])).await;
        assert_eq!(found, (Some(5014), false), "K-11 {length}");
    }
}

#[tokio::test]
async fn k_04_k_05_k_24_a_cer_against_its_grammar_is_refused_with_its_code() {
    let mut stage = Stage::new().await;
    let many: Vec<Avp> =
        (0..63).map(|n| Avp::identity(id::ORIGIN_HOST, format!("host-{n}.example"))).collect();
    assert_eq!(stage.greet("K-04", &cer_and(&many)).await, (Some(5009), false), "K-04");
    let vendor = || Avp::u32(id::VENDOR_ID, 10415);
    let auth = || Avp::u32(id::AUTH_APPLICATION_ID, 4);
    let group = |members| Avp::group(id::VENDOR_SPECIFIC_APPLICATION_ID, members);
    for (members, codes) in [
        (vec![], &[5005][..]),
        (vec![vendor()], &[5005]),
        (vec![auth()], &[5005]),
        (vec![vendor(), auth(), Avp::u32(id::ACCT_APPLICATION_ID, 3)], &[5009]),
        (vec![vendor(), auth(), group(vec![vendor(), auth()])], &[5008, 5009]),
    ] {
        let (code, open) = stage.greet("K-05", &cer_and(&[group(members.clone())])).await;
        assert!(
            code.is_some_and(|code| codes.contains(&code)) && !open,
            "K-05 {members:?}: {code:?}"
        );
    }
    let twice = Avp::identity(id::ORIGIN_HOST, "KNOWN.Example.");
    assert_eq!(stage.greet("K-24", &cer_and(&[twice])).await, (Some(5009), false), "K-24");
    let long = Avp::octets(id::ORIGIN_HOST, vec![b'a'; 300]);
    assert_eq!(stage.greet("K-24", &cer_but(long)).await, (Some(5004), false), "K-24 long");
}

#[tokio::test]
async fn k_12_k_13_k_14_k_15_k_17_k_19_odd_and_harmless_cers_open() {
    let mut stage = Stage::new().await;
    let unknown = |flags, data: Vec<u8>| Avp {
        flags: AvpFlags(flags),
        ..Avp::octets(AvpId { code: 0x8000_0001, vendor: 0 }, data)
    };
    let open = (Some(2001), true);
    assert_eq!(stage.greet("K-12", &cer_and(&[unknown(0, vec![1])])).await, open, "K-12");
    let mandatory = stage.greet("K-12", &cer_and(&[unknown(0x40, vec![1])])).await;
    assert_eq!(mandatory, (Some(5001), false), "K-12 with M");
    // Padding that is not zero, and the last padding missing in a group.
    let padded = [0x80, 0, 0, 1, 0, 0, 0, 9, b'1', 0xaa, 0xbb, 0xcc];
    assert_eq!(stage.greet("K-13", &cer_and_octets(&padded)).await, open, "K-13");
    let vendor_0 = [0x80, 0, 0, 1, 0x80, 0, 0, 13, 0, 0, 0, 0, b'a', 0, 0, 0];
    assert_eq!(stage.greet("K-14", &cer_and_octets(&vendor_0)).await, open, "K-14");
    let failed = cer_and(&[Avp::group(id::FAILED_AVP, Vec::new())]);
    let (code, _) = stage.greet("K-15", &failed).await;
    assert!(code.is_some(), "K-15 is answered");
    assert_eq!(
        stage.greet("K-17", &cer_and(&[unknown(0, vec![0x20; 60_000])])).await,
        open,
        "K-17"
    );
    let small = vec![unknown(0, Vec::new()); 4000];
    assert_eq!(stage.greet("K-19", &cer_and(&small)).await, open, "K-19");
}

#[tokio::test]
async fn k_20_bombs_are_refused_and_memory_stays_small() {
    let mut stage = Stage::new().await;
    let mut nested = Vec::new();
    for level in 0..10_000u32 {
        nested.extend_from_slice(&873u32.to_be_bytes());
        nested.extend_from_slice(&((0xc0 << 24) | (12 * (10_000 - level))).to_be_bytes());
        nested.extend_from_slice(&10415u32.to_be_bytes());
    }
    let empty: Vec<u8> = [0, 0, 1, 8, 0, 0, 0, 8].repeat(100_000);
    for octets in [cer_and_octets(&nested), cer_and_octets(&empty)] {
        let (code, open) = stage.greet("K-20", &octets).await;
        assert!(!open && code != Some(2001), "{code:?}");
    }
}

#[tokio::test]
async fn k_25_a_cer_in_pieces_of_every_size_is_the_same_cer() {
    let mut stage = Stage::new().await;
    let whole = cer("pieces.example").encode(Dictionary::builtin());
    for cut in 1..whole.len() {
        let mut script = Script::connect(&stage.server.address()).await;
        script.socket.set_nodelay(true).expect("set");
        script.raw(&whole[..cut]).await;
        script.raw(&whole[cut..]).await;
        let cea = script.read().await.expect("a CEA");
        assert_eq!(cea.unsigned32(id::RESULT_CODE), Some(2001), "cut at {cut}");
        let (conn, ..) = loop {
            let connected = stage.server.connected().await;
            if connected.1 == "pieces.example" {
                break connected;
            }
        };
        drop(script);
        stage.server.closed(conn).await;
    }
    stage.lives("K-25").await;
}

/// A peer that we dialled and the test plays, beside a bystander with a server of its own.
struct Dialled {
    client: Client,
    script: Script,
    stage: Stage,
}

impl Dialled {
    async fn new() -> Dialled {
        let (listener, address) = listener().await;
        let mut client = Client::start(config(&address));
        let script = Script::opened(&listener).await;
        client.usable().await;
        Dialled { client, script, stage: Stage::new().await }
    }

    /// The Result-Code that a request of the peer's is answered with.
    async fn ask(&mut self, what: &str, octets: &[u8]) -> Option<u32> {
        self.script.raw(octets).await;
        let answer = self.script.read().await.unwrap_or_else(|| panic!("{what}: an answer"));
        self.stage.lives(what).await;
        assert!(self.client.handle.is_usable(), "{what}: one bad request ends no connection");
        answer.unsigned32(id::RESULT_CODE)
    }

    /// A CCR of ours as the peer sees it.
    async fn asked(&mut self, token: u64) -> Bytes {
        self.client.send(token);
        self.script.request().await
    }
}

fn rar_but(avp: AvpId, change: impl FnOnce(&mut Vec<Avp>)) -> Bytes {
    let (mut message, _) = decode(&rar(), Dictionary::builtin(), &CodecLimits::default());
    message.avps.retain(|own| own.id != avp);
    change(&mut message.avps);
    message.encode_as_is()
}

#[tokio::test]
async fn k_02_k_03_k_06_k_08_k_11_a_broken_request_is_answered_with_its_code() {
    let mut peer = Dialled::new().await;
    let missing = rar_but(id::DESTINATION_REALM, |_| {});
    assert_eq!(peer.ask("K-06", &missing).await, Some(5005), "K-06");
    let short = [0, 0, 3, 93, 0xc0, 0, 0, 9, 0, 0, 0x28, 0xaf];
    assert_eq!(peer.ask("K-02", &with_octets(&rar(), &short)).await, Some(5014), "K-02");
    let zero = [0, 0, 1, 8, 0x40, 0, 0, 0, 97, 0, 0, 0];
    assert_eq!(peer.ask("K-03", &with_octets(&rar(), &zero)).await, Some(5014), "K-03");
    let nul = rar_but(id::SESSION_ID, |avps| {
        avps.insert(0, Avp::octets(id::SESSION_ID, &b"cg\0;1;1"[..]));
    });
    assert_eq!(peer.ask("K-08", &nul).await, Some(5004), "K-08");
    let number = rar_but(id::AUTH_APPLICATION_ID, |avps| {
        avps.push(Avp::octets(id::AUTH_APPLICATION_ID, &[4][..]));
    });
    assert_eq!(peer.ask("K-11", &number).await, Some(5014), "K-11");
}

#[tokio::test]
async fn k_09_an_undefined_enum_value_is_handed_on() {
    let mut peer = Dialled::new().await;
    let odd = rar_but(id::RE_AUTH_REQUEST_TYPE, |avps| {
        avps.push(Avp::enumerated(id::RE_AUTH_REQUEST_TYPE, 999));
    });
    peer.script.raw(&odd).await;
    let bytes = peer
        .client
        .wait("request", |event| match event {
            PeerEvent::Request { bytes, .. } => Some(bytes),
            _ => None,
        })
        .await;
    assert_eq!(read(&bytes).enumerated(id::RE_AUTH_REQUEST_TYPE), Some(999));
    peer.stage.lives("K-09").await;
}

#[tokio::test]
async fn k_10_k_21_answers_to_nothing_and_second_answers_are_discarded() {
    let mut peer = Dialled::new().await;
    let request = peer.asked(1).await;
    let good = cca(&request);
    // Nothing has this Hop-by-Hop id; this one has, and another session.
    let mut stranger = BytesMut::from(&good[..]);
    patch_hop_by_hop(&mut stranger, 0xdead_beef);
    peer.script.raw(&stranger).await;
    peer.client.fact(|fact| matches!(fact, Fact::AnswerUnknown { .. })).await;
    let mut other = read(&good);
    other.avps[0] = Avp::text(id::SESSION_ID, "another;1;1");
    peer.script.write(&other).await;
    peer.client.fact(|fact| matches!(fact, Fact::AnswerMixed { .. })).await;
    // Both answers of one request in one segment: the first is the answer, once.
    peer.script.raw(&[&good[..], &good[..]].concat()).await;
    assert_eq!(peer.client.answer().await.0, 1);
    peer.client.fact(|fact| matches!(fact, Fact::AnswerUnknown { .. })).await;
    // And one after the session is long gone.
    peer.script.raw(&good).await;
    peer.client.fact(|fact| matches!(fact, Fact::AnswerUnknown { .. })).await;
    assert!(peer.client.handle.is_usable());
    peer.stage.lives("K-10").await;
}

#[tokio::test]
async fn k_11_k_12_k_15_k_16_an_odd_answer_reaches_its_request_and_harms_no_connection() {
    let mut peer = Dialled::new().await;
    let unknown =
        Avp { flags: AvpFlags(0xc0), ..Avp::octets(AvpId { code: 7, vendor: 4242 }, &b"?"[..]) };
    let oddities: Vec<(&str, Vec<Avp>)> = vec![
        ("K-12 with M", vec![Avp::u32(id::RESULT_CODE, 2001), unknown.clone()]),
        (
            "K-12 in a group",
            vec![Avp::group(id::MULTIPLE_SERVICES_CREDIT_CONTROL, vec![unknown.clone()])],
        ),
        ("K-12 in Failed-AVP", vec![Avp::group(id::FAILED_AVP, vec![unknown])]),
        ("K-15", vec![Avp::group(id::FAILED_AVP, Vec::new())]),
        ("K-16 without Result-Code", vec![Avp::u32(id::CC_REQUEST_NUMBER, 0)]),
        ("K-11", vec![Avp::octets(id::RESULT_CODE, &[7, 209][..])]),
        (
            "K-17",
            vec![Avp { flags: AvpFlags(0x80), ..Avp::octets(AvpId::tgpp(20), vec![0x20; 60_000]) }],
        ),
    ];
    for (token, (what, avps)) in (1..).zip(oddities) {
        let request = peer.asked(token).await;
        let mut answer = Message::answer_to(&Header::parse(&request).expect("a header"));
        answer.push(Avp::text(id::SESSION_ID, SESSION));
        answer.avps.extend(avps);
        peer.script.raw(&answer.encode_as_is()).await;
        assert_eq!(peer.client.answer().await.0, token, "{what}");
        assert!(peer.client.handle.is_usable(), "{what}");
        peer.stage.lives(what).await;
    }
}

#[tokio::test]
async fn k_01_k_20_a_peer_that_we_dialled_is_closed_too_and_dialled_again() {
    let (listener, address) = listener().await;
    let mut client = Client::start(config(&address));
    let mut stage = Stage::new().await;
    for octets in [&[1, 0, 0, 5, 0x80, 0, 1, 1][..], &[1, 0xff, 0xff, 0xfc], &[1, 0, 0, 22]] {
        let mut script = Script::opened(&listener).await;
        let _ = script.socket.write_all(octets).await;
        while script.read().await.is_some() {}
        let reason = client.state(PeerState::Down).await;
        assert!(reason.starts_with("bad length"), "{reason}");
        stage.lives("K-01").await;
    }
    Script::opened(&listener).await;
}

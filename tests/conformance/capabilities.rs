//! The capabilities exchange (RFC 6733, 5.3): P-10 to P-19, FM-01, K-04, K-05.

use bytes::Bytes;
use farebox::diameter::value::identity_eq;
use farebox::diameter::{
    Address, Avp, Dictionary, Limits, Message, Value, check_grammar, check_order, command, decode,
    id, result_code,
};
use farebox::peer::capabilities::{
    Capabilities, Expected, Refusal, Verdict, cea, cer, judge_cea, judge_cer,
};
use farebox::peer::{Application, LocalIdentity, PeerState};

const LOCAL: Address = Address::Ipv4([192, 0, 2, 1]);

fn us() -> LocalIdentity {
    LocalIdentity { origin_state_id: 5, ..LocalIdentity::new("cg1.example", "example") }
}

fn them() -> LocalIdentity {
    LocalIdentity { product_name: "OCS".into(), ..LocalIdentity::new("ocs.example", "ocs") }
}

fn our_cer(applications: &[Application]) -> Message {
    cer(&us(), applications, &[LOCAL], 1, 2)
}

fn their_cea(applications: &[Application]) -> Message {
    cea(&our_cer(Application::DEFAULT).header, &them(), applications, &[LOCAL], None)
}

/// Through the wire, with every problem.
fn read(message: &Message) -> (Message, Vec<farebox::diameter::Problem>) {
    let bytes: Bytes = message.encode(Dictionary::builtin());
    let (message, mut problems) = decode(&bytes, Dictionary::builtin(), &Limits::default());
    problems.extend(check_grammar(&message, Dictionary::builtin()));
    (message, problems)
}

fn expect<'a>(local: &'a LocalIdentity, ours: &'a [Application]) -> Expected<'a> {
    Expected { local, host: Some("ocs.example"), applications: ours }
}

fn on_cea(message: &Message) -> Verdict {
    let (message, problems) = read(message);
    judge_cea(&message, &problems, expect(&us(), Application::DEFAULT))
}

fn on_cer(message: &Message) -> Verdict {
    let (message, problems) = read(message);
    let them = them();
    let expected = Expected { local: &them, host: None, applications: Application::DEFAULT };
    judge_cer(&message, problems.into_iter().next(), expected)
}

#[track_caller]
fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Refused(refusal) => refusal,
        Verdict::Agreed { .. } => panic!("agreed"),
    }
}

#[track_caller]
fn agreed(verdict: Verdict) -> (Capabilities, Vec<u32>) {
    match verdict {
        Verdict::Agreed { peer, common } => (peer, common),
        Verdict::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn p_11_p_12_cer_and_cea_keep_their_grammar() {
    let mixed = [
        Application::acct(3),
        Application { vendor: Some(10415), ..Application::auth(4) },
        Application::auth(4),
    ];
    for message in [our_cer(&mixed), their_cea(&mixed)] {
        let (read, problems) = read(&message);
        assert_eq!(problems, []);
        assert_eq!(check_order(&read, Dictionary::builtin()), []);
        assert_eq!(read.header.code, command::CAPABILITIES_EXCHANGE);
        assert_eq!(read.header.application, 0);
        assert_eq!(read.all(id::HOST_IP_ADDRESS).count(), 1);
        assert_eq!(read.text(id::DESTINATION_REALM), None, "R-03, R-04");
        let ids: Vec<u32> = Capabilities::of(&read).applications.iter().map(|a| a.id()).collect();
        assert!(!ids.contains(&u32::MAX), "P-12: we are no relay");
        assert_eq!(read.find(id::INBAND_SECURITY_ID), None);
    }
}

#[test]
fn p_18_product_name_and_firmware_revision_go_without_m() {
    let identity = LocalIdentity { firmware_revision: Some(7), ..us() };
    let (read, _) = read(&cer(&identity, Application::DEFAULT, &[LOCAL], 1, 2));
    for avp in [id::PRODUCT_NAME, id::FIRMWARE_REVISION] {
        assert!(!read.find(avp).expect("there").flags.mandatory());
    }
}

#[test]
fn p_17_supported_vendor_ids_are_never_zero_and_never_twice() {
    let odd = [
        Application { vendor: Some(0), ..Application::auth(4) },
        Application { vendor: Some(10415), ..Application::auth(4) },
        Application { vendor: Some(193), ..Application::acct(3) },
    ];
    let (read, _) = read(&our_cer(&odd));
    let vendors: Vec<&Value> = read.all(id::SUPPORTED_VENDOR_ID).map(|avp| &avp.value).collect();
    assert_eq!(vendors, [&Value::Unsigned32(193), &Value::Unsigned32(10415)]);
}

#[test]
fn p_31_origin_state_id_0_is_left_out() {
    assert_eq!(our_cer(Application::DEFAULT).unsigned32(id::ORIGIN_STATE_ID), Some(5));
    assert_eq!(their_cea(Application::DEFAULT).unsigned32(id::ORIGIN_STATE_ID), None);
}

#[test]
fn p_11_configured_addresses_replace_those_of_the_connection() {
    let identity = LocalIdentity {
        addresses: vec![Address::Ipv4([198, 51, 100, 1]), Address::Ipv6([1; 16])],
        ..us()
    };
    let message = cer(&identity, Application::DEFAULT, &[LOCAL], 1, 2);
    assert_eq!(message.all(id::HOST_IP_ADDRESS).count(), 2);
}

#[test]
fn p_16_the_intersection_ignores_vendor_and_kind() {
    for told in [
        vec![Application::auth(4)],
        vec![Application::acct(4)],
        vec![Application { vendor: Some(10415), ..Application::auth(4) }],
        vec![
            Application { vendor: Some(99), ..Application::acct(4) },
            Application::auth(16_777_251),
        ],
    ] {
        assert_eq!(agreed(on_cea(&their_cea(&told))).1, [4], "{told:?}");
        assert_eq!(agreed(on_cer(&our_cer(&told))).1, [4], "{told:?}");
    }
}

#[test]
fn p_14_a_relay_shares_everything() {
    let relay = [Application::auth(u32::MAX)];
    let (peer, common) = agreed(on_cea(&their_cea(&relay)));
    assert!(peer.is_relay());
    assert_eq!(common, [3, 4]);
}

#[test]
fn p_15_a_cer_without_common_application_is_5010() {
    for told in [vec![Application::auth(1)], vec![]] {
        let refusal = refusal(on_cer(&our_cer(&told)));
        assert_eq!(refusal.result_code, result_code::NO_COMMON_APPLICATION);
        assert_eq!(refusal.fault, PeerState::BadConfig);
    }
}

#[test]
fn p_15_a_cea_without_common_application_is_ours_to_fix() {
    let refusal = refusal(on_cea(&their_cea(&[Application::auth(1)])));
    assert_eq!(refusal.fault, PeerState::BadConfig);
    assert_eq!(
        refusal.reason,
        "no common application: it offers [{auth: 1}], we offer [{auth: 4}, {acct: 3}]; set \
         `applications: [{auth: 1}]` if these are what it should serve"
    );
}

/// A CEA of this Result-Code.
fn refusing(code: u32) -> Message {
    let refusal = Refusal {
        fault: PeerState::Down,
        reason: "no \u{1F4B8}".into(),
        result_code: code,
        failed: None,
    };
    cea(
        &our_cer(Application::DEFAULT).header,
        &them(),
        Application::DEFAULT,
        &[LOCAL],
        Some(&refusal),
    )
}

#[test]
fn fm_01_every_refusal_says_whose_fault_it_is() {
    for (code, fault, words) in [
        (3010, PeerState::BadConfig, "3010 DIAMETER_UNKNOWN_PEER: it does not know `cg1.example`"),
        (5010, PeerState::BadConfig, "5010 DIAMETER_NO_COMMON_APPLICATION: no common application"),
        (5017, PeerState::BadConfig, "5017 DIAMETER_NO_COMMON_SECURITY: it wants TLS"),
        (4003, PeerState::Down, "4003 ELECTION_LOST: it prefers the connection"),
        (5012, PeerState::BadRemote, "5012 DIAMETER_UNABLE_TO_COMPLY: it refuses"),
        (9999, PeerState::BadRemote, "9999 unknown Result-Code: it refuses"),
        (0, PeerState::BadRemote, "0 unknown Result-Code"),
    ] {
        let message = refusing(code);
        assert_eq!(message.header.flags.is_error(), code / 1000 == 3, "R-10: {code}");
        let refusal = refusal(on_cea(&message));
        assert_eq!((refusal.result_code, refusal.fault), (code, fault));
        assert!(refusal.reason.starts_with(words), "{}", refusal.reason);
        assert!(refusal.reason.ends_with("(it says \"no \u{1F4B8}\")"), "{}", refusal.reason);
    }
}

#[test]
fn fm_01_e_with_a_success_code_is_no_success() {
    let mut message = their_cea(Application::DEFAULT);
    message.header.flags.0 |= 0x20;
    refusal(on_cea(&message));
}

#[test]
fn fm_01_a_cea_without_result_code_or_origin_host_is_theirs_to_fix() {
    for avp in [id::RESULT_CODE, id::ORIGIN_HOST] {
        let mut message = their_cea(Application::DEFAULT);
        message.avps.retain(|one| one.id != avp);
        assert_eq!(refusal(on_cea(&message)).fault, PeerState::BadRemote);
    }
}

#[test]
fn fm_01_another_identity_is_refused_and_another_case_is_not() {
    let cea_of = |host: &str| {
        let identity = LocalIdentity::new(host, "ocs");
        let header = our_cer(Application::DEFAULT).header;
        cea(&header, &identity, Application::DEFAULT, &[LOCAL], None)
    };
    assert_eq!(
        refusal(on_cea(&cea_of("evil.example"))).reason,
        "it calls itself `evil.example`; expected `ocs.example`"
    );
    let (peer, _) = agreed(on_cea(&cea_of("OCS.Example")));
    assert!(identity_eq(&peer.origin_host, "ocs.example"), "K-24, H-34");
    let own = refusal(on_cea(&cea_of("CG1.example")));
    assert_eq!(own.reason, "it calls itself `CG1.example`, which is our own Origin-Host");
}

#[test]
fn p_19_an_unexpected_host_is_an_unknown_peer() {
    let (message, _) = read(&our_cer(Application::DEFAULT));
    let them = them();
    let expected =
        Expected { local: &them, host: Some("cg2.example"), applications: Application::DEFAULT };
    let refusal = refusal(judge_cer(&message, None, expected));
    assert_eq!(refusal.result_code, result_code::UNKNOWN_PEER);
}

#[test]
fn fm_01_a_thousand_applications_are_read_and_bounded() {
    let many: Vec<Application> = (100..1100).map(Application::auth).collect();
    let peer = Capabilities::of(&read(&our_cer(&many)).0);
    assert_eq!(peer.applications.len(), 256);
}

#[test]
fn h_27_a_cea_with_an_unknown_avp_and_m_is_failed() {
    let mut message = their_cea(Application::DEFAULT);
    let unknown = farebox::diameter::AvpId { code: 9999, vendor: 77 };
    message.push(Avp::octets(unknown, Bytes::from_static(b"x")));
    assert_eq!(refusal(on_cea(&message)).fault, PeerState::BadRemote);
    message.avps.last_mut().expect("it").flags.0 &= !0x40;
    agreed(on_cea(&message));
}

#[test]
fn p_18_a_lax_cea_is_used_all_the_same() {
    let mut message = their_cea(Application::DEFAULT);
    let lost = [id::HOST_IP_ADDRESS, id::VENDOR_ID, id::PRODUCT_NAME, id::ORIGIN_REALM];
    message.avps.retain(|one| !lost.contains(&one.id));
    agreed(on_cea(&message));
}

#[test]
fn f_12_a_cer_that_lacks_what_it_must_have_is_5005() {
    for lost in
        [id::ORIGIN_HOST, id::ORIGIN_REALM, id::HOST_IP_ADDRESS, id::VENDOR_ID, id::PRODUCT_NAME]
    {
        let mut message = our_cer(Application::DEFAULT);
        message.avps.retain(|one| one.id != lost);
        let refusal = refusal(on_cer(&message));
        assert_eq!(refusal.result_code, result_code::MISSING_AVP);
        assert_eq!(refusal.failed.expect("an example").id, lost);
    }
}

#[test]
fn k_04_64_origin_hosts_in_a_cer_are_5009() {
    let mut message = our_cer(Application::DEFAULT);
    for _ in 0..63 {
        message.avps.insert(0, Avp::identity(id::ORIGIN_HOST, "CG1.example"));
    }
    let refusal = refusal(on_cer(&message));
    assert_eq!(refusal.result_code, result_code::AVP_OCCURS_TOO_MANY_TIMES);
    assert_eq!(refusal.failed.expect("the first extra").id, id::ORIGIN_HOST);
}

#[test]
fn k_05_broken_vendor_specific_application_ids() {
    let group = |members| Avp::group(id::VENDOR_SPECIFIC_APPLICATION_ID, members);
    let vendor = Avp::u32(id::VENDOR_ID, 10415);
    let auth = Avp::u32(id::AUTH_APPLICATION_ID, 4);
    let acct = Avp::u32(id::ACCT_APPLICATION_ID, 3);
    for (broken, code) in [
        (group(vec![]), 5005),
        (group(vec![vendor.clone()]), 5005),
        (group(vec![auth.clone()]), 5005),
        (group(vec![vendor.clone(), auth.clone(), acct]), 5009),
        (Avp::octets(id::VENDOR_SPECIFIC_APPLICATION_ID, Bytes::from_static(b"abc")), 5014),
    ] {
        let mut cer = our_cer(&[]);
        cer.push(broken.clone());
        assert_eq!(refusal(on_cer(&cer)).result_code, code, "{broken:?}");
        // In a CEA what can be read of it counts, and nothing breaks.
        let mut cea = their_cea(Application::DEFAULT);
        cea.push(broken);
        agreed(on_cea(&cea));
    }
}

#[test]
fn p_19_in_band_security_alone_is_5017() {
    let mut message = our_cer(Application::DEFAULT);
    message.push(Avp::u32(id::INBAND_SECURITY_ID, 1));
    assert_eq!(refusal(on_cer(&message)).result_code, result_code::NO_COMMON_SECURITY);
    message.push(Avp::u32(id::INBAND_SECURITY_ID, 0));
    agreed(on_cer(&message));
}

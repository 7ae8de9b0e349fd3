//! What an answer says to whoever chooses peers: result, origin, overload, load, redirect.
//!
//! One walk over the octets; what the answer means for its request is not known here.

use crate::diameter::Limits;
use crate::diameter::View;
use crate::diameter::id;
use crate::diameter::result_code;

use super::overload;
use super::overload::LoadReport;
use super::overload::Report;
use super::redirect::Indication;

/// OC-OLR and Load AVPs that are read of one answer.
const REPORTS_MAX: usize = 8;

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice<'a> {
    /// Application-ID of the header.
    pub application: u32,
    /// Result-Code.
    pub result_code: Option<u32>,
    /// It has an Experimental-Result instead.
    pub experimental: bool,
    /// Origin-Host.
    pub origin_host: Option<&'a str>,
    /// Origin-Realm.
    pub origin_realm: Option<&'a str>,
    /// Origin-State-Id.
    pub origin_state_id: Option<u32>,
    /// OC-OLR AVPs for the loss algorithm.
    pub reports: Vec<Report>,
    /// Load AVPs.
    pub loads: Vec<LoadReport>,
    /// Whom it redirects to, if its Result-Code is DIAMETER_REDIRECT_INDICATION.
    pub redirect: Option<Indication>,
}

impl<'a> Notice<'a> {
    /// Reads an answer. What cannot be read is absent.
    pub fn of(answer: &'a [u8]) -> Notice<'a> {
        let limits = Limits { message_bytes_max: u32::MAX, ..Limits::default() };
        let Ok(view) = View::new(answer, &limits) else { return Notice::default() };
        let mut notice = Notice { application: view.header().application, ..Notice::default() };
        let mut loss = true;
        for avp in view.avps() {
            match avp.id {
                id::RESULT_CODE if notice.result_code.is_none() => {
                    notice.result_code = avp.unsigned32();
                }
                id::EXPERIMENTAL_RESULT => notice.experimental = true,
                id::ORIGIN_HOST => notice.origin_host = avp.text(),
                id::ORIGIN_REALM => notice.origin_realm = avp.text(),
                id::ORIGIN_STATE_ID => notice.origin_state_id = avp.unsigned32(),
                id::OC_SUPPORTED_FEATURES => loss = overload::selects_loss(&avp),
                id::OC_OLR if notice.reports.len() < REPORTS_MAX => {
                    notice.reports.extend(Report::of(avp.group()));
                }
                id::LOAD if notice.loads.len() < REPORTS_MAX => {
                    notice.loads.extend(LoadReport::of(avp.group()));
                }
                _ => {}
            }
        }
        notice.experimental &= notice.result_code.is_none();
        if !loss {
            notice.reports.clear();
        }
        if notice.result_code == Some(result_code::REDIRECT_INDICATION) {
            notice.redirect = Some(Indication::of(&view));
        }
        notice
    }
}

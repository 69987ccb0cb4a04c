//! Route 53's XML: what is asked for and what it answers.

use quick_xml::escape::escape;
use serde::Deserialize;

use super::super::TrafficError;
use super::super::compare::canonical_name;
use crate::agent::types::RecordState;

/// A set of records that go together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RecordSet {
    name: String,
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "TTL")]
    ttl_s: Option<u32>,
    set_identifier: Option<String>,
    weight: Option<u32>,
    #[serde(default)]
    resource_records: Records,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Records {
    #[serde(rename = "ResourceRecord", default)]
    list: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Value {
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListResponse {
    resource_record_sets: Sets,
}

#[derive(Deserialize)]
struct Sets {
    #[serde(rename = "ResourceRecordSet", default)]
    list: Vec<RecordSet>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeResponse {
    change_info: ChangeInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeInfo {
    id: String,
    status: String,
}

/// A change on its way to all servers.
pub(super) struct Change {
    pub(super) id: String,
    pub(super) is_in_sync: bool,
}

impl RecordSet {
    pub(super) fn simple(name: &str, kind: &str, ttl_s: u32, values: &[String]) -> Self {
        let list = values.iter().map(|value| Value { value: value.clone() }).collect();
        let (name, kind) = (name.to_owned(), kind.to_owned());
        let resource_records = Records { list };
        Self { name, kind, ttl_s: Some(ttl_s), set_identifier: None, weight: None, resource_records }
    }

    pub(super) fn weighted(self, set_identifier: &str, weight: u32) -> Self {
        Self { set_identifier: Some(set_identifier.to_owned()), weight: Some(weight), ..self }
    }

    /// Elements in the order of the schema, which the service insists on.
    fn to_xml(&self) -> String {
        let element = |name: &str, text: &str| format!("<{name}>{}</{name}>", escape(text));
        let number =
            |name: &str, number: Option<u32>| number.map(|number| element(name, &number.to_string()));
        let records = self.resource_records.list.iter();
        let records: String = records
            .map(|record| format!("<ResourceRecord>{}</ResourceRecord>", element("Value", &record.value)))
            .collect();
        [
            Some(element("Name", &self.name)),
            Some(element("Type", &self.kind)),
            self.set_identifier.as_ref().map(|id| element("SetIdentifier", id)),
            number("Weight", self.weight),
            number("TTL", self.ttl_s),
            Some(format!("<ResourceRecords>{records}</ResourceRecords>")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The body that upserts all of `sets` as one change.
pub(super) fn upsert(sets: &[RecordSet]) -> String {
    let changes: String = sets
        .iter()
        .map(|set| {
            let set = set.to_xml();
            format!("<Change><Action>UPSERT</Action><ResourceRecordSet>{set}</ResourceRecordSet></Change>")
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
         <ChangeBatch><Comment>openclaw-rating failover</Comment><Changes>{changes}</Changes></ChangeBatch>\
         </ChangeResourceRecordSetsRequest>"
    )
}

pub(super) fn read_sets(body: &[u8]) -> Result<Vec<RecordSet>, String> {
    Ok(parse::<ListResponse>(body)?.resource_record_sets.list)
}

pub(super) fn read_change(body: &[u8]) -> Result<Change, String> {
    let info = parse::<ChangeResponse>(body)?.change_info;
    let id = info.id.trim_start_matches("/change/").to_owned();
    Ok(Change { id, is_in_sync: info.status == "INSYNC" })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    quick_xml::de::from_str(text).map_err(|error| error.to_string())
}

/// The state that `sets` (of a listing that starts at our name) are in, for one name and type. With
/// `set_identifiers` it has a value and a weight for each of them.
pub(super) fn state_of(
    sets: Vec<RecordSet>,
    name: &str,
    kind: &str,
    set_identifiers: &[String],
) -> Result<RecordState, TrafficError> {
    let is_ours =
        |set: &RecordSet| unescaped(&set.name) == canonical_name(name) && set.kind.eq_ignore_ascii_case(kind);
    let ours: Vec<RecordSet> = sets.into_iter().filter(is_ours).collect();
    let none = || {
        TrafficError::unfit(
            format!("Route 53 has no {kind} record {name} of this form in the zone"),
            "Create it once by hand, pointing to the region that serves now, and check zone_id, name, type \
             and set identifiers",
        )
    };
    if ours.iter().any(|set| set.resource_records.list.is_empty()) {
        return Err(TrafficError::unfit(
            format!("{name} is an alias at Route 53"),
            "Make it a record with values and a TTL, or switch by another provider",
        ));
    }
    let chosen: Vec<&RecordSet> = if set_identifiers.is_empty() {
        ours.iter().filter(|set| set.set_identifier.is_none()).collect()
    } else {
        let with_id = |id: &String| ours.iter().find(|set| set.set_identifier.as_ref() == Some(id));
        set_identifiers.iter().map(with_id).collect::<Option<_>>().ok_or_else(none)?
    };
    let first = chosen.first().ok_or_else(none)?;
    let weights = if set_identifiers.is_empty() {
        Vec::new()
    } else {
        chosen.iter().map(|set| set.weight).collect::<Option<_>>().ok_or_else(none)?
    };
    if !weights.is_empty() && chosen.iter().any(|set| set.resource_records.list.len() != 1) {
        return Err(TrafficError::unfit(
            format!("a weighted set of {name} has several values"),
            "Give each weighted set one value",
        ));
    }
    let values = chosen.iter().flat_map(|set| &set.resource_records.list);
    Ok(RecordState {
        name: canonical_name(name),
        kind: first.kind.clone(),
        ttl_s: first.ttl_s.unwrap_or_default(),
        values: values.map(|record| record.value.clone()).collect(),
        proxied: None,
        weights,
    })
}

/// Route 53 writes an asterisk as `\052`.
fn unescaped(name: &str) -> String {
    canonical_name(&name.replace("\\052", "*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in the API reference of ListResourceRecordSets.
    const LISTING: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <ListResourceRecordSetsResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/">
          <ResourceRecordSets>
            <ResourceRecordSet><Name>www.example.com.</Name><Type>A</Type><SetIdentifier>west</SetIdentifier>
              <Weight>0</Weight><TTL>30</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.2</Value>
              </ResourceRecord></ResourceRecords></ResourceRecordSet>
            <ResourceRecordSet><Name>www.example.com.</Name><Type>A</Type><SetIdentifier>east</SetIdentifier>
              <Weight>255</Weight><TTL>30</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value>
              </ResourceRecord></ResourceRecords></ResourceRecordSet>
            <ResourceRecordSet><Name>\052.example.com.</Name><Type>A</Type><TTL>60</TTL>
              <ResourceRecords><ResourceRecord><Value>192.0.2.7</Value></ResourceRecord>
              <ResourceRecord><Value>192.0.2.8</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>
            <ResourceRecordSet><Name>alias.example.com.</Name><Type>A</Type><AliasTarget>
              <HostedZoneId>Z1</HostedZoneId><DNSName>x.</DNSName>
              <EvaluateTargetHealth>false</EvaluateTargetHealth>
              </AliasTarget></ResourceRecordSet>
          </ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems>
        </ListResourceRecordSetsResponse>"#;

    fn state(name: &str, ids: &[&str]) -> Result<RecordState, TrafficError> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        state_of(read_sets(LISTING.as_bytes()).unwrap(), name, "A", &ids)
    }

    #[test]
    fn weighted_sets_are_read_in_the_order_of_their_identifiers() {
        let found = state("www.example.com", &["east", "west"]).unwrap();
        assert_eq!(
            (found.values, found.weights, found.ttl_s),
            (vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()], vec![255, 0], 30)
        );
    }

    #[test]
    fn a_simple_set_may_be_a_wildcard_with_several_values() {
        let found = state("*.Example.com.", &[]).unwrap();
        assert_eq!((found.values.len(), found.weights.len(), found.ttl_s), (2, 0, 60));
    }

    #[test]
    fn sets_that_do_not_fit_are_refused_with_the_remedy() {
        for (name, ids, remedy) in [
            ("alias.example.com", &[][..], "with values and a TTL"),
            ("api.example.com", &[], "Create it once"),
            ("www.example.com", &[], "set identifiers"),
            ("www.example.com", &["east", "north"], "set identifiers"),
            ("*.example.com", &["east"], "set identifiers"),
        ] {
            let text = state(name, ids).unwrap_err().to_string();
            assert!(text.contains(remedy), "{text}");
        }
    }

    #[test]
    fn an_upsert_has_its_elements_in_the_order_of_the_schema() {
        let set =
            RecordSet::simple("a&b.example.com", "A", 30, &["192.0.2.1".to_owned()]).weighted("east", 0);
        let text = upsert(&[set]);
        let part = "<Name>a&amp;b.example.com</Name><Type>A</Type><SetIdentifier>east</SetIdentifier>\
                    <Weight>0</Weight><TTL>30</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value>\
                    </ResourceRecord></ResourceRecords>";
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn a_change_is_pending_until_it_is_in_sync() {
        let change = |status: &str| {
            let text =
                format!("<R><ChangeInfo><Id>/change/C1</Id><Status>{status}</Status></ChangeInfo></R>");
            read_change(text.as_bytes()).unwrap()
        };
        assert!(!change("PENDING").is_in_sync && change("INSYNC").is_in_sync);
        assert_eq!(change("PENDING").id, "C1");
        assert!(read_change(b"<html>").is_err() && read_sets(b"\xff").is_err());
    }
}

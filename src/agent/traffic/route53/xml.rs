//! Route 53's XML: what is asked for and what it answers.

use quick_xml::escape::escape;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::TrafficError;
use super::super::compare::canonical_name;
use crate::agent::types::RecordState;

/// A set of records that go together: what of it is written back, and what is only known to be there.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RecordSet {
    name: String,
    #[serde(rename = "Type")]
    kind: String,
    set_identifier: Option<String>,
    weight: Option<u32>,
    #[serde(rename = "TTL")]
    ttl_s: Option<u32>,
    resource_records: Records,
    health_check_id: Option<String>,
    region: Option<IgnoredAny>,
    geo_location: Option<IgnoredAny>,
    geo_proximity_location: Option<IgnoredAny>,
    cidr_routing_config: Option<IgnoredAny>,
    failover: Option<IgnoredAny>,
    multi_value_answer: Option<IgnoredAny>,
    traffic_policy_instance_id: Option<IgnoredAny>,
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
        let (name, kind) = (name.to_owned(), kind.to_owned());
        Self { name, kind, ttl_s: Some(ttl_s), ..Self::default() }.with_values(values)
    }

    pub(super) fn weighted(self, set_identifier: &str, weight: u32) -> Self {
        Self { set_identifier: Some(set_identifier.to_owned()), weight: Some(weight), ..self }
    }

    /// As it is, under the name as the configuration writes it.
    pub(super) fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    pub(super) fn with_values(self, values: &[String]) -> Self {
        let list = values.iter().map(|value| Value { value: value.clone() }).collect();
        Self { resource_records: Records { list }, ..self }
    }

    pub(super) fn with_weight(self, weight: u32) -> Self {
        Self { weight: Some(weight), ..self }
    }

    /// What answers are chosen by, where that is neither nothing nor weight.
    fn other_routing(&self) -> Option<&'static str> {
        let kinds = [
            (&self.region, "latency"),
            (&self.geo_location, "location"),
            (&self.geo_proximity_location, "distance"),
            (&self.cidr_routing_config, "the network of who asks"),
            (&self.failover, "Route 53's own failover"),
            (&self.multi_value_answer, "chance among several (multivalue)"),
            (&self.traffic_policy_instance_id, "a traffic policy"),
        ];
        let known = kinds.into_iter().find(|(element, _)| element.is_some()).map(|(_, by)| by);
        let is_unknown = self.set_identifier.is_some() && self.weight.is_none();
        known.or_else(|| is_unknown.then_some("something that this version does not know"))
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
            self.health_check_id.as_ref().map(|id| element("HealthCheckId", id)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The body that replaces each set by another, all as one change. Route 53 deletes a set only when all that is said
/// of it is so: that is its comparison, without a moment between it and the write.
pub(super) fn replace(sets: &[(RecordSet, RecordSet)]) -> String {
    let change = |action: &str, set: &RecordSet| {
        let set = set.to_xml();
        format!("<Change><Action>{action}</Action><ResourceRecordSet>{set}</ResourceRecordSet></Change>")
    };
    let changes: String =
        sets.iter().map(|(before, after)| change("DELETE", before) + &change("CREATE", after)).collect();
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

/// The one set of a name and type, or its weighted sets in the order of `set_identifiers`, out of a listing. Only
/// sets are given that can be written back whole and that alone say where traffic goes.
pub(super) fn choose(
    listing: Vec<RecordSet>,
    name: &str,
    kind: &str,
    set_identifiers: &[String],
) -> Result<Vec<RecordSet>, TrafficError> {
    let is_ours =
        |set: &RecordSet| unescaped(&set.name) == canonical_name(name) && set.kind.eq_ignore_ascii_case(kind);
    let ours: Vec<RecordSet> = listing.into_iter().filter(is_ours).collect();
    refuse_unlike(&ours, name)?;
    let chosen: Option<Vec<RecordSet>> = if set_identifiers.is_empty() {
        ours.first().filter(|set| set.set_identifier.is_none()).map(|set| vec![set.clone()])
    } else {
        let with_id = |id: &String| ours.iter().find(|set| set.set_identifier.as_ref() == Some(id)).cloned();
        set_identifiers.iter().map(with_id).collect()
    };
    let chosen = chosen.ok_or_else(|| {
        TrafficError::unfit(
            format!("Route 53 has no {kind} record {name} of this form in the zone"),
            "Create it once by hand, pointing to the region that serves now, and check zone_id, name, type \
             and set identifiers",
        )
    })?;
    refuse_unlisted(&ours, name, set_identifiers)?;
    Ok(chosen)
}

fn refuse_unlike(ours: &[RecordSet], name: &str) -> Result<(), TrafficError> {
    if let Some(by) = ours.iter().find_map(RecordSet::other_routing) {
        return Err(TrafficError::unfit(
            format!(
                "answers for {name} are chosen by {by} at Route 53, and only simple and weighted sets are \
                 moved"
            ),
            "Make them weighted sets, one a region, or switch by another provider",
        ));
    }
    if ours.iter().any(|set| set.resource_records.list.is_empty()) {
        return Err(TrafficError::unfit(
            format!("{name} is an alias at Route 53"),
            "Make it a record with values and a TTL, or switch by another provider",
        ));
    }
    let is_weighted = |set: &&RecordSet| set.set_identifier.is_some();
    if ours.iter().filter(is_weighted).any(|set| set.resource_records.list.len() != 1) {
        return Err(TrafficError::unfit(
            format!("a weighted set of {name} has several values"),
            "Give each weighted set one value",
        ));
    }
    Ok(())
}

/// A set that the agent does not know may have traffic, and would keep it.
fn refuse_unlisted(ours: &[RecordSet], name: &str, set_identifiers: &[String]) -> Result<(), TrafficError> {
    let ids = ours.iter().filter_map(|set| set.set_identifier.as_ref());
    let unlisted: Vec<&str> = ids.filter(|id| !set_identifiers.contains(id)).map(String::as_str).collect();
    if unlisted.is_empty() {
        return Ok(());
    }
    Err(TrafficError::unfit(
        format!("{name} has weighted sets that set_identifiers does not name: {}", unlisted.join(", ")),
        "Remove them at Route 53, or name one set a region in set_identifiers",
    ))
}

/// Where `sets`, as [`choose`] gives them, send traffic.
pub(super) fn state_of(sets: &[RecordSet], name: &str, kind: &str) -> RecordState {
    let values = sets.iter().flat_map(|set| &set.resource_records.list);
    RecordState {
        name: canonical_name(name),
        kind: kind.to_owned(),
        ttl_s: sets.iter().filter_map(|set| set.ttl_s).max().unwrap_or_default(),
        values: values.map(|record| record.value.clone()).collect(),
        proxied: None,
        weights: sets.iter().filter_map(|set| set.weight).collect(),
    }
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
        state_in(LISTING, name, &ids)
    }

    fn state_in(listing: &str, name: &str, ids: &[String]) -> Result<RecordState, TrafficError> {
        choose(read_sets(listing.as_bytes()).unwrap(), name, "A", ids).map(|sets| state_of(&sets, name, "A"))
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

    /// Two weighted sets, the second with more in it.
    fn two_sets(more: &str) -> String {
        let set = |id: &str, more: &str| {
            format!(
                "<ResourceRecordSet><Name>www.example.com.</Name><Type>A</Type>\
                 <SetIdentifier>{id}</SetIdentifier>{more}<TTL>30</TTL>\
                 <ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord></ResourceRecords>\
                 </ResourceRecordSet>"
            )
        };
        let sets = set("eu", "<Weight>1</Weight>") + &set("us", more);
        format!("<L><ResourceRecordSets>{sets}</ResourceRecordSets></L>")
    }

    #[test]
    fn sets_that_are_not_chosen_by_weight_alone_are_refused() {
        let ids = ["eu".to_owned(), "us".to_owned()];
        assert!(state_in(&two_sets("<Weight>0</Weight>"), "www.example.com", &ids).is_ok());
        for (element, says) in [
            ("<Region>us-east-1</Region>", "latency"),
            ("<GeoLocation><ContinentCode>EU</ContinentCode></GeoLocation>", "location"),
            ("<GeoProximityLocation><Bias>1</Bias></GeoProximityLocation>", "distance"),
            ("<CidrRoutingConfig><CollectionId>c</CollectionId></CidrRoutingConfig>", "network"),
            ("<Failover>PRIMARY</Failover>", "failover"),
            ("<MultiValueAnswer>true</MultiValueAnswer>", "multivalue"),
            ("<TrafficPolicyInstanceId>t</TrafficPolicyInstanceId>", "traffic policy"),
        ] {
            let error = state_in(&two_sets(element), "www.example.com", &ids).unwrap_err();
            assert!(matches!(error, TrafficError::Unfit { .. }), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_weighted_set_that_nobody_named_is_refused() {
        let error = state("www.example.com", &["east"]).unwrap_err().to_string();
        assert!(error.contains("does not name: west") && error.contains("one set a region"), "{error}");
    }

    #[test]
    fn a_change_has_its_elements_in_the_order_of_the_schema() {
        let before = RecordSet {
            health_check_id: Some("abc-1".to_owned()),
            ..RecordSet::simple("a&b.example.com", "A", 30, &["192.0.2.1".to_owned()]).weighted("east", 9)
        };
        let text = replace(&[(before.clone(), before.with_weight(0))]);
        let set = |weight: u32| {
            format!(
                "<ResourceRecordSet><Name>a&amp;b.example.com</Name><Type>A</Type>\
                 <SetIdentifier>east</SetIdentifier><Weight>{weight}</Weight><TTL>30</TTL>\
                 <ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord></ResourceRecords>\
                 <HealthCheckId>abc-1</HealthCheckId></ResourceRecordSet>"
            )
        };
        let part = format!(
            "<Changes><Change><Action>DELETE</Action>{}</Change><Change><Action>CREATE</Action>{}</Change>\
             </Changes>",
            set(9),
            set(0)
        );
        assert!(text.contains(&part), "{text}");
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

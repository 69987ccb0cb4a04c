//! How the nodes of a cluster share the limit of a policy.

/// What the limit means while a peer cannot be heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Partition {
    /// Each side keeps to its share: a charge also charges what the absent peers are estimated to use.
    #[default]
    Share,
    /// Each side goes on with the whole limit; what was too much is repaid afterwards.
    Full,
}

/// How the share of a peer that cannot be heard is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Share {
    /// By what each node used in the seconds before the cut.
    #[default]
    Observed,
    /// The same for every node.
    Equal,
}

/// How closely the nodes keep to one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// Every node may use the whole limit; they tell each other, and what was too much is repaid.
    #[default]
    Eventual,
    /// Every node has a fixed part of rate and burst, and their sum is never over the limit.
    Strict,
}

/// The rules of one policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sharing {
    /// While a peer is absent.
    pub partition: Partition,
    /// What an absent peer is taken to use.
    pub share: Share,
    /// How closely the limit is kept.
    pub consistency: Consistency,
}

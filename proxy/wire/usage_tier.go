package wire

import "github.com/tidwall/gjson"

// Tier is the service tier that an answer was served in: some have prices of their own.
type Tier uint8

// The tiers. What is neither a discount nor dearer is the standard one.
const (
	TierUnsaid Tier = iota
	TierStandard
	TierFlex
	TierPriority
	TierBatch
)

// TierOf reads a tier as providers name it. A word that is not known, or that leaves the choice open, says nothing.
func TierOf(word string) Tier {
	switch word {
	case "default", "standard", "scale":
		return TierStandard
	case "flex":
		return TierFlex
	case "priority":
		return TierPriority
	case "batch":
		return TierBatch
	}
	return TierUnsaid
}

// FindTier reads the tier that an answer says it was served in, or an event of one: in the outermost object, in that of the
// response inside an event of the Responses API, or in Anthropic's usage. What lies deeper may be the client's own, such as
// metadata.
func FindTier(answer []byte) Tier {
	at := tierKey.index(answer, 0)
	if at < 0 {
		return TierUnsaid
	}
	// It mostly stands near the end: then reading from there on is enough.
	value := tierKey.value(answer, at)
	if len(value) > 0 && value[0] == '"' {
		if n := stringEnd(value[1:]); n > 0 && closes(value[1+n:], "}") {
			if tier := TierOf(alias(value[1:n])); tier != TierUnsaid {
				return tier
			}
		}
	}
	for _, path := range []string{"service_tier", "response.service_tier", "usage.service_tier", "message.usage.service_tier"} {
		if tier := TierOf(gjson.Get(alias(answer), path).Str); tier != TierUnsaid {
			return tier
		}
	}
	return TierUnsaid
}

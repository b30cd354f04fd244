package wire

import (
	"net/netip"
	"strings"
)

// Public tells addresses that belong to no one's own network, by IANA's registries of special addresses
// (https://www.iana.org/assignments/iana-ipv4-special-registry, iana-ipv6-special-registry).
func Public(a netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Is6() && !global6.Contains(a) {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

var (
	global6   = netip.MustParsePrefix("2000::/3")
	notPublic = prefixes("0.0.0.0/8 100.64.0.0/10 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.175.48.0/24 " +
		"198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 " +
		"168.63.129.16/32 " + // Azure's host
		"2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20") // Teredo and others, documentation, 6to4
)

func prefixes(list string) (all []netip.Prefix) {
	for p := range strings.FieldsSeq(list) {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

package egress

import (
	"fmt"
	"net/netip"
)

// special is a range of addresses that are not public.
type special struct {
	prefix netip.Prefix
	what   string
	open   opening
}

// opening is what makes a special range reachable.
type opening int

const (
	byList   opening = iota // an entry of the operator's list
	loopback                // Config.AllowLoopback, or an entry of the list
	never                   // nothing: no server can be there
)

// specials4 and specials6 follow IANA's registries of special-purpose addresses.
// https://www.iana.org/assignments/iana-ipv4-special-registry
// https://www.iana.org/assignments/iana-ipv6-special-registry
var (
	specials4 = []special{
		{netip.MustParsePrefix("0.0.0.0/8"), "unspecified", never},
		{netip.MustParsePrefix("10.0.0.0/8"), "private", byList},
		{netip.MustParsePrefix("100.64.0.0/10"), "of a provider's own network", byList},
		{netip.MustParsePrefix("127.0.0.0/8"), "loopback", loopback},
		{netip.MustParsePrefix("169.254.0.0/16"), "link-local", byList},
		{netip.MustParsePrefix("172.16.0.0/12"), "private", byList},
		{netip.MustParsePrefix("192.0.0.0/24"), "reserved for protocols", byList},
		{netip.MustParsePrefix("192.0.2.0/24"), "for documentation", byList},
		{netip.MustParsePrefix("192.88.99.0/24"), "of 6to4 relays", byList},
		{netip.MustParsePrefix("192.168.0.0/16"), "private", byList},
		{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks", byList},
		{netip.MustParsePrefix("198.51.100.0/24"), "for documentation", byList},
		{netip.MustParsePrefix("203.0.113.0/24"), "for documentation", byList},
		{netip.MustParsePrefix("224.0.0.0/4"), "multicast", never},
		{netip.MustParsePrefix("240.0.0.0/4"), "reserved", never},
	}
	specials6 = []special{
		{netip.MustParsePrefix("::/128"), "unspecified", never},
		{netip.MustParsePrefix("::1/128"), "loopback", loopback},
		{netip.MustParsePrefix("64:ff9b:1::/48"), "of a local translator", byList},
		{netip.MustParsePrefix("2001::/23"), "reserved for protocols", byList},
		{netip.MustParsePrefix("2001:db8::/32"), "for documentation", byList},
		{netip.MustParsePrefix("2002::/16"), "6to4", byList},
		{netip.MustParsePrefix("3fff::/20"), "for documentation", byList},
		{netip.MustParsePrefix("fc00::/7"), "private", byList},
		{netip.MustParsePrefix("fe80::/10"), "link-local", byList},
		{netip.MustParsePrefix("ff00::/8"), "multicast", never},
		// Whatever else is not global unicast, such as fec0::/10 and ::a.b.c.d.
		{netip.MustParsePrefix("::/3"), "reserved", byList},
		{netip.MustParsePrefix("4000::/2"), "reserved", byList},
		{netip.MustParsePrefix("8000::/1"), "reserved", byList},
	}
	// translated is where a NAT64 translator puts the IPv4 Internet.
	translated = netip.MustParsePrefix("64:ff9b::/96")
)

// CheckAddr returns nil for an address that requests may go to, and an ErrRefused
// that names the setting for others.
func (c *Client) CheckAddr(addr netip.Addr) error {
	// The same machine may be written in several ways; what counts is who is meant.
	shown := addr
	addr = addr.WithZone("").Unmap()
	if addr.Is6() && translated.Contains(addr) {
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	table := specials6
	if addr.Is4() {
		table = specials4
	}
	for _, s := range table {
		if !s.prefix.Contains(addr) {
			continue
		}
		if s.open == never {
			return fmt.Errorf("%w: %s is %s", ErrRefused, shown, s.what)
		}
		if s.open == loopback && c.cfg.AllowLoopback || c.listed(addr, s.prefix) {
			return nil
		}
		return fmt.Errorf("%w: %s is %s; the server's operator can allow it in the setting egress.allow", ErrRefused, shown, s.what)
	}
	if !addr.IsValid() {
		return fmt.Errorf("%w: no address", ErrRefused)
	}
	return nil
}

// listed reports whether an entry of the operator's list covers addr. An entry that
// is wider than the special range was hardly meant for it.
func (c *Client) listed(addr netip.Addr, within netip.Prefix) bool {
	for _, p := range c.cfg.Allow {
		if p.Contains(addr) && p.Bits() >= within.Bits() {
			return true
		}
	}
	return false
}

// CheckAllow tells what is wrong with an entry for Config.Allow that would open less
// than it seems to, nil for others.
func CheckAllow(p netip.Prefix) error {
	if p.Addr().Is4In6() {
		return fmt.Errorf("%s is an IPv4 network in the form of IPv6: write it as one of IPv4", p)
	}
	table := specials6
	if p.Addr().Is4() {
		table = specials4
	}
	for _, s := range table {
		switch {
		case !s.prefix.Overlaps(p):
		case s.open == never:
			return fmt.Errorf("%s holds addresses that no server can have: %s is %s", p, s.prefix, s.what)
		case p.Bits() < s.prefix.Bits():
			return fmt.Errorf("%s is wider than %s (%s): name the networks that are meant", p, s.prefix, s.what)
		default:
			return nil
		}
	}
	return nil
}

package egress_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/egress"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestCheckAddr(t *testing.T) {
	nothing := egress.Config{}
	for _, tc := range []struct {
		name    string
		cfg     egress.Config
		allowed []string
		refused []string
	}{
		{
			"by default", nothing,
			[]string{
				"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
				"192.0.1.1", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
				"2606:4700::1111", "2a00::1", "3ffe::1", "::ffff:1.1.1.1", "64:ff9b::101:101",
			},
			[]string{
				"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.255",
				"169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1",
				"198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
				"240.0.0.1", "255.255.255.255",
				"::", "::1", "::127.0.0.1", "::10.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1",
				"ff02::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "4000::1", "5f00::1", "8000::1",
				// the same machines in other clothes
				"::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::ffff:0.0.0.0",
				"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b:1::1.1.1.1",
			},
		},
		{
			"a development server", egress.Config{AllowLoopback: true},
			[]string{"127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"},
			[]string{"0.0.0.0", "::", "10.0.0.1", "169.254.169.254", "::127.0.0.1"},
		},
		{
			"networks of the operator's own", egress.Config{Allow: prefixes("10.1.0.0/16", "192.168.0.0/16", "fd12::/16", "169.254.169.254/32")},
			[]string{"10.1.2.3", "192.168.255.1", "fd12:1::1", "::ffff:10.1.2.3", "64:ff9b::a01:203", "169.254.169.254"},
			[]string{"10.2.0.1", "127.0.0.1", "fd13::1", "fe80::1", "169.254.169.253"},
		},
		{
			"an entry wider than what it opens", egress.Config{Allow: prefixes("0.0.0.0/0", "::/0", "10.0.0.0/7")},
			[]string{"1.1.1.1"},
			[]string{"10.0.0.1", "127.0.0.1", "169.254.169.254", "fd00::1", "::1", "fe80::1"},
		},
		{
			"what no entry opens", egress.Config{AllowLoopback: true, Allow: prefixes("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "ff00::/8", "::/128")},
			nil,
			[]string{"0.0.0.0", "0.1.1.1", "224.0.0.1", "255.255.255.255", "ff02::1", "::"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := egress.New(tc.cfg)
			for _, s := range tc.allowed {
				if err := c.CheckAddr(netip.MustParseAddr(s)); err != nil {
					t.Errorf("CheckAddr(%s) = %v, want nil", s, err)
				}
			}
			for _, s := range tc.refused {
				if err := c.CheckAddr(netip.MustParseAddr(s)); !errors.Is(err, egress.ErrRefused) {
					t.Errorf("CheckAddr(%s) = %v, want ErrRefused", s, err)
				}
			}
		})
	}
	if err := egress.New(nothing).CheckAddr(netip.Addr{}); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("CheckAddr of no address = %v, want ErrRefused", err)
	}
	err := egress.New(nothing).CheckAddr(netip.MustParseAddr("10.0.0.1"))
	if err == nil || !strings.Contains(err.Error(), "egress.allow") {
		t.Errorf("CheckAddr(10.0.0.1) = %v, want the setting's name in it", err)
	}
}

// TestCheckAddrAgrees: whatever the standard library calls anything but global unicast,
// or private, is refused, in all clothes.
func TestCheckAddrAgrees(t *testing.T) {
	c := egress.New(egress.Config{})
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")
		v4 := netip.AddrFrom4([4]byte(raw))
		translated := netip.MustParseAddr("64:ff9b::").As16()
		copy(translated[12:], raw)
		forms := []netip.Addr{v4, netip.AddrFrom16(v4.As16()), netip.AddrFrom16(translated)}
		want := c.CheckAddr(v4) == nil
		if want && (!v4.IsGlobalUnicast() || v4.IsPrivate() || v4.IsLoopback()) {
			t.Fatalf("%s is allowed", v4)
		}
		for _, a := range forms {
			if got := c.CheckAddr(a) == nil; got != want {
				t.Fatalf("%s allowed: %v, but %s: %v", a, got, v4, want)
			}
		}
		v6 := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")))
		if c.CheckAddr(v6) == nil && (!v6.IsGlobalUnicast() || v6.IsPrivate() || v6.As16()[0]>>5 != 1) && !v6.Is4In6() {
			t.Fatalf("%s is allowed", v6)
		}
	})
}

func TestCheckAllow(t *testing.T) {
	for _, s := range []string{"10.0.0.0/8", "10.1.2.3/32", "192.168.7.0/24", "127.0.0.1/32", "169.254.169.254/32", "fd00::/8", "fc00::/7", "::1/128", "1.1.1.1/32", "2606:4700::/32", "fec0::/10"} {
		if err := egress.CheckAllow(netip.MustParsePrefix(s)); err != nil {
			t.Errorf("CheckAllow(%s) = %v, want nil", s, err)
		}
	}
	for _, s := range []string{"0.0.0.0/0", "::/0", "8.0.0.0/6", "172.0.0.0/8", "192.0.0.0/8", "224.0.0.0/4", "0.0.0.0/8", "255.255.255.255/32", "ff00::/8", "::/128", "fc00::/6", "::ffff:10.0.0.0/104"} {
		if err := egress.CheckAllow(netip.MustParsePrefix(s)); err == nil {
			t.Errorf("CheckAllow(%s) = nil", s)
		}
	}
}

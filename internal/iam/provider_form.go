package iam

import (
	"encoding/hex"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"arca/internal/api/iamapi"
)

// maxThumbprints is AWS's limit for one provider.
const maxThumbprints = 5

// issuerURL holds the URL of an issuer to AWS's rules and returns it without its
// scheme, which is how records and ARNs have it. It is kept to the letter otherwise,
// since tokens name their issuer to the letter. A port is allowed: an issuer of one's
// own often has one.
func issuerURL(raw string) (string, error) {
	refused := iamapi.InvalidInput.Errorf("Invalid Open ID Connect Provider URL")
	rest, ok := strings.CutPrefix(raw, "https://")
	if !ok || !plainURL(rest) {
		return "", refused
	}
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || !validHost(u.Hostname()) || !validPort(u.Host, u.Port()) {
		return "", refused
	}
	// Its claims become condition keys that begin with the URL. One word would make them
	// look like those of a service: sts:ExternalId, aws:SourceVpc.
	if !strings.ContainsAny(rest, ".:/") {
		return "", refused
	}
	if strings.Contains(rest, "//") || strings.Contains(rest, "/./") || strings.Contains(rest, "/../") {
		return "", refused
	}
	return rest, nil
}

// plainURL reports whether s holds nothing but what a URL is made of, and neither
// query nor fragment. The wildcards of policies are among what is refused.
func plainURL(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("-._~:/[]!&'()+,;=%@$", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// validHost reports whether s is a domain name or an address.
func validHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return !strings.Contains(s, "%")
	}
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// validPort reports whether the host part of a URL has a good port or none.
func validPort(host, port string) bool {
	if port == "" {
		return !strings.HasSuffix(host, ":")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// thumbprints holds the SHA-1 digests of certificates to their form. There may be none:
// then the issuer's certificate must be signed by an authority that the server trusts.
func thumbprints(list []string) ([]string, error) {
	if len(list) > maxThumbprints {
		return nil, iamapi.InvalidInput.Errorf("Thumbprint list must contain fewer than %d entries.", maxThumbprints)
	}
	var all []string
	for _, t := range list {
		t = strings.ToLower(t)
		if raw, err := hex.DecodeString(t); err != nil || len(raw) != 20 {
			return nil, iamapi.InvalidInput.Errorf("Thumbprint must be 40 hexadecimal digits.")
		}
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all, nil
}

// clientIDs drops what is named twice.
func (s *Service) clientIDs(list []string) ([]string, error) {
	var all []string
	for _, id := range list {
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	if len(all) > s.quotas.clients {
		return nil, errQuota("ClientIdsPerOpenIdConnectProvider", s.quotas.clients)
	}
	return all, nil
}

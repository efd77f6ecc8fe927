package policy

import (
	"net/netip"
	"slices"
	"strings"

	"arca/internal/arn"
)

// keyForm is what the values of a condition key look like, as far as it matters to
// whether a policy fixes them.
type keyForm int8

const (
	anyForm keyForm = iota
	accountForm
	arnForm
	principalForm // the ARN of a user, role or root
	userIDForm    // AIDA…, AROA…:session or an account
	orgPathForm   // o-…/r-…/ou-…/
	providerForm  // the ARN of an identity provider, or the name of a public one
	addressForm
	dateForm
	boolForm
	kindForm // aws:PrincipalType
)

// boundingKey reports whether a condition key, in lower case, tells who calls or for
// whom. A policy that compares such a key with fixed values lets in a set of callers
// that it names. The list is that of Amazon S3's "The meaning of public", and the keys
// made since that say the same of another sort of caller.
//
// aws:username and aws:VpcSourceIp are not among them: everybody may name a user as he
// likes, and has the same private addresses.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
func boundingKey(key string) (form keyForm, ok bool) {
	switch key {
	case "aws:principalaccount", "aws:sourceaccount", "aws:sourceowner", "aws:vpceaccount", "kms:calleraccount":
		return accountForm, true
	case "aws:principalarn":
		return principalForm, true
	case "aws:sourcearn", "aws:sourcevpcarn", "aws:chatbotsourcearn", "lambda:sourcefunctionarn", "ec2:sourceinstancearn":
		return arnForm, true
	case "aws:userid":
		return userIDForm, true
	case "aws:principalorgpaths", "aws:sourceorgpaths", "aws:vpceorgpaths":
		return orgPathForm, true
	case "aws:principalorgid", "aws:sourceorgid", "aws:vpceorgid",
		"aws:sourcevpc", "aws:sourcevpce", "aws:ec2instancesourcevpc",
		"aws:principalservicename", "aws:principalservicenameslist":
		return anyForm, true
	case "aws:sourceip":
		return addressForm, true
	case "aws:federatedprovider":
		return providerForm, true
	}
	return anyForm, false
}

// otherForm is the form of keys that bound nobody.
func otherForm(key string) keyForm {
	switch key {
	case "aws:currenttime", "aws:epochtime", "aws:tokenissuetime":
		return dateForm
	case "aws:vpcsourceip":
		return addressForm
	case "aws:resourceaccount":
		return accountForm
	case "aws:securetransport", "aws:viaawsservice", "aws:multifactorauthpresent", "aws:principalisawsservice":
		return boolForm
	case "aws:principaltype":
		return kindForm
	}
	return anyForm
}

// ownersKey reports whether the key tells about the owner of the resource. It has one
// value for every caller, so a policy that compares with it as a variable compares with
// something fixed.
func ownersKey(key string) bool {
	switch key {
	case "aws:resourceaccount", "aws:resourceorgid", "aws:resourceorgpaths":
		return true
	}
	return false
}

// fact is what is known of a key in every request of a kind of stranger.
type fact struct {
	present, absent bool
	value           string // the only one, if present; "" for any
}

// strangerFacts tells what the requests of strangers have in common. A service that
// acts for anybody is a stranger, too, with keys of its own.
func strangerFacts(kind CallerKind, key string) fact {
	switch key {
	case "aws:currenttime", "aws:epochtime", "aws:securetransport", "aws:requestedregion",
		"aws:viaawsservice", "aws:resourceaccount", resourceKey:
		return fact{present: true}
	case "aws:principalarn", "aws:principalaccount", "aws:userid", "aws:principaltype":
		return fact{present: kind != ServiceCaller, absent: kind == ServiceCaller}
	case "aws:principalorgid", "aws:principalorgpaths", "aws:username":
		return fact{absent: kind == ServiceCaller}
	case "aws:principalisawsservice":
		if kind == ServiceCaller {
			return fact{present: true, value: "true"}
		}
		return fact{present: true, value: "false"}
	case "aws:principalservicename":
		return fact{present: kind == ServiceCaller, absent: kind != ServiceCaller}
	case "aws:principalservicenameslist":
		return fact{absent: kind != ServiceCaller}
	}
	return fact{absent: kind == ServiceCaller && strings.HasPrefix(key, "aws:principaltag/")}
}

// fixedValues tells which values of a condition on a bounding key are fixed: what meets
// one of them is named by the policy.
func fixedValues(c *Condition, form keyForm) []bool {
	fixed := make([]bool, len(c.Values))
	for i := range c.Values {
		v := &c.Values[i]
		switch c.Operator.Family {
		case StringFamily, ARNFamily:
			fixed[i] = fixedPattern(v.Pattern, c.Operator.Family, form)
		case NumericFamily:
			fixed[i] = strings.HasSuffix(c.Operator.Name, "Equals") && !strings.Contains(c.Operator.Name, "Than")
		case BinaryFamily:
			fixed[i] = true
		}
	}
	if c.Operator.Family == IPFamily {
		fixedRanges(c.Values, fixed)
	}
	return fixed
}

// fixedPattern reports whether a pattern names one caller, or a set that has one owner.
func fixedPattern(p Pattern, family Family, form keyForm) bool {
	wild := false
	for _, part := range p.Parts {
		switch part.Kind {
		case Variable:
			if !ownersKey(strings.ToLower(part.Text)) {
				return false
			}
		case AnyRun, AnyOne:
			wild = true
		}
	}
	switch form {
	case arnForm, principalForm:
		return !wild || pinsAccount(p, family)
	case providerForm:
		return pinsAccount(p, family)
	case userIDForm:
		return !wild || strings.IndexByte(literalHead(p), ':') > 0
	case orgPathForm:
		return !wild || strings.IndexByte(literalHead(p), '/') > 0
	}
	return !wild
}

// literalHead is what every match of p begins with. A variable of the owner's is as
// good as a literal.
func literalHead(p Pattern) string {
	head := ""
	for _, part := range p.Parts {
		switch part.Kind {
		case Literal:
			head += part.Text
		case Variable:
			head += "owner"
		default:
			return head
		}
	}
	return head
}

// pinsAccount reports whether all ARNs that match p are of one account. Under the
// operators for strings a wildcard may also stand for colons, so there must be none
// before the account.
func pinsAccount(p Pattern, family Family) bool {
	const accountPart = 4
	part, account := 0, ""
	for _, piece := range p.Parts {
		switch piece.Kind {
		case Literal:
			for _, c := range piece.Text {
				switch {
				case c == ':' && part <= accountPart:
					part++
				case part == accountPart:
					account += string(c)
				}
			}
		case Variable:
			if part == accountPart && strings.EqualFold(piece.Text, "aws:ResourceAccount") {
				account += "000000000000"
			} else if part <= accountPart {
				return false
			}
		default:
			if part == accountPart || part < accountPart && family == StringFamily {
				return false
			}
		}
	}
	return part > accountPart && arn.ValidAccount(account)
}

// fixedRanges marks the ranges of addresses that are no broader than /8, or /32 of IPv6,
// which is where Amazon S3 draws the line. Ranges that only together are broader count
// as what they are together.
func fixedRanges(values []Value, fixed []bool) {
	const most4, most6 = 8, 32
	merged := make([]netip.Prefix, len(values))
	for i := range values {
		merged[i] = unmapPrefix(values[i].Prefix)
	}
	merged = mergeRanges(merged)
	for i := range values {
		p := unmapPrefix(values[i].Prefix)
		for _, m := range merged {
			if m.Bits() > p.Bits() || !m.Contains(p.Addr()) {
				continue
			}
			limit := most6
			if m.Addr().Is4() {
				limit = most4
			}
			fixed[i] = m.Bits() >= limit
			break
		}
	}
}

// mergeRanges joins neighbours that make up a whole range, and drops ranges within
// others.
func mergeRanges(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var out []netip.Prefix
	for _, p := range list {
		if n := len(out); n > 0 && out[n-1].Bits() <= p.Bits() && out[n-1].Contains(p.Addr()) {
			continue
		}
		out = append(out, p)
		for n := len(out); n > 1; n-- {
			a, b := out[n-2], out[n-1]
			if a.Bits() != b.Bits() || a.Bits() == 0 || a.Addr().BitLen() != b.Addr().BitLen() {
				break
			}
			both := netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked()
			if both.Addr() != a.Addr() || !both.Contains(b.Addr()) {
				break
			}
			out = append(out[:n-2], both)
		}
	}
	return out
}

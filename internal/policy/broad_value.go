package policy

import (
	"encoding/base64"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// demand is that a value is like one of a condition's values, or like none of them.
type demand struct {
	cond *broadCondition
	like bool
}

// value finds a value of a key that satisfies the demands and, if the key tells who
// calls, is none that the policy fixes. ok with sure false says that there may be one.
func (f *finder) value(k *broadKey, demands []demand) (value string, ok, sure bool) {
	for _, d := range demands {
		if k.bounding && d.like && d.cond.allFixed {
			return "", false, true
		}
	}
	all := slices.Clone(demands)
	for _, c := range k.fixes {
		all = append(all, demand{cond: c})
	}
	candidates, whole := f.candidates(k, all)
	for _, candidate := range candidates {
		if f.satisfies(candidate, all) {
			return candidate, true, true
		}
	}
	asText, asOther := len(all) == 0, make(map[Family]bool)
	for _, d := range all {
		if family := d.cond.valueFamily(); family == StringFamily {
			asText = true
		} else {
			asOther[family] = true
		}
	}
	switch {
	case len(asOther) == 0:
		return f.spellValue(k, all)
	case asText || len(asOther) > 1 || !whole:
		// Nobody compares one key as, say, an address and a string. What looks impossible
		// may only not have been thought of.
		return "", true, false
	}
	return "", false, true
}

// valueFamily is the family of a condition, where all that are regular languages count
// as one.
func (c *broadCondition) valueFamily() Family {
	switch family := c.source.Operator.Family; family {
	case ARNFamily, BoolFamily:
		return StringFamily
	default:
		return family
	}
}

func (f *finder) satisfies(v string, demands []demand) bool {
	for _, d := range demands {
		f.budget -= 1 + len(d.cond.source.Values)
		if f.eval.like(&d.cond.condition, v) != d.like {
			return false
		}
	}
	return true
}

// spellValue decides by walking through all strings of the key's form.
func (f *finder) spellValue(k *broadKey, demands []demand) (value string, ok, sure bool) {
	var walks []*walk
	if form := formLanguages(k.form); form != nil {
		walks = append(walks, newWalk(form, true))
	}
	for _, d := range demands {
		walks = append(walks, newWalk(f.languages(d.cond), d.like))
	}
	text, found, none := spell(walks, &f.budget)
	return text, !none, found
}

// languages are those of the values of a condition.
func (f *finder) languages(c *broadCondition) []language {
	if c.spelled {
		return c.union
	}
	c.spelled = true
	for i := range c.source.Values {
		p := c.source.Values[i].Pattern
		switch c.source.Operator.Family {
		case StringFamily:
			c.union = append(c.union, stringLanguage(p, c.op, f.ownersValue))
		case ARNFamily:
			if l, ok := arnLanguage(p, f.ownersValue); ok {
				c.union = append(c.union, l)
			}
		}
	}
	if c.source.Operator.Family == BoolFamily {
		if c.yes {
			c.union = append(c.union, language(nil).literal("true", foldRune))
		}
		if c.no {
			c.union = append(c.union, language(nil).literal("false", foldRune))
		}
	}
	return c.union
}

// formLanguages are the values that keys of a form have; nil for any.
func formLanguages(form keyForm) []language {
	one := func(text string) language { return language(nil).literal(text, oneRune) }
	switch form {
	case accountForm:
		return []language{one("").digits(12)}
	case principalForm:
		var forms []language
		for _, service := range []string{":iam::", ":sts::"} {
			l := one("arn:").some(notColon).literal(service, oneRune).digits(12)
			forms = append(forms, l.literal(":", oneRune).some(anyRune))
		}
		return forms
	case arnForm:
		l := one("arn:").some(notColon).literal(":", oneRune).some(notColon)
		for range 2 {
			l = append(l, element{r: ':'}, element{kind: notColon, run: true})
		}
		return []language{l.literal(":", oneRune).some(anyRune)}
	case boolForm:
		return []language{one("true"), one("false")}
	case kindForm:
		return []language{one("Account"), one("User"), one("AssumedRole"), one("FederatedUser")}
	}
	return nil
}

func (l language) digits(n int) language {
	for range n {
		l = append(l, element{kind: digitRune})
	}
	return l
}

// candidates are values worth trying. For numbers, dates, addresses and binary values
// they are of all sorts that the demands tell apart, unless whole is false; for strings,
// likely ones.
func (f *finder) candidates(k *broadKey, demands []demand) (out []string, whole bool) {
	whole = true
	byFamily := make(map[Family][]*broadCondition)
	for _, d := range demands {
		family := d.cond.valueFamily()
		byFamily[family] = append(byFamily[family], d.cond)
	}
	switch k.form {
	case dateForm:
		if len(byFamily[DateFamily]) == 0 {
			out = append(out, time.Unix(0, 0).UTC().Format(time.RFC3339))
		}
	case addressForm:
		if len(byFamily[IPFamily]) == 0 {
			out = append(out, "203.0.113.1")
		}
	case boolForm:
		out = append(out, "true", "false")
	default:
		out = append(out, f.stranger(k))
	}
	for _, d := range demands {
		if d.like && d.cond.valueFamily() == StringFamily {
			for _, l := range f.languages(d.cond) {
				out = append(out, f.instance(l, k))
			}
		}
	}
	if list := byFamily[NumericFamily]; list != nil {
		for _, n := range numbersAround(list) {
			_, ok := parseDecimal(n)
			out, whole = append(out, n), whole && ok
		}
	}
	if list := byFamily[DateFamily]; list != nil {
		for _, t := range datesAround(list) {
			_, ok := parseDate(t)
			out, whole = append(out, t), whole && ok
		}
	}
	if list := byFamily[IPFamily]; list != nil {
		out = append(out, addressesAround(list)...)
	}
	if list := byFamily[BinaryFamily]; list != nil {
		out = append(out, base64.StdEncoding.EncodeToString([]byte(f.word)))
		for _, c := range list {
			out = append(out, c.texts...)
		}
	}
	return out, whole
}

// stranger is a value that nobody has named.
func (f *finder) stranger(k *broadKey) string {
	switch k.form {
	case accountForm:
		return f.account
	case principalForm:
		return "arn:aws:iam::" + f.account + ":role/" + f.word
	case arnForm:
		return "arn:aws:sns:us-east-1:" + f.account + ":" + f.word
	case userIDForm:
		return f.caller.UniqueID + ":" + f.word
	case orgPathForm:
		return "o-" + f.word + "/r-" + f.word + "/"
	case providerForm:
		return "arn:aws:iam::" + f.account + ":oidc-provider/" + f.word
	case kindForm:
		return "AssumedRole"
	}
	switch k.name {
	case "aws:principalorgid", "aws:sourceorgid", "aws:vpceorgid":
		return "o-" + f.word
	case "aws:principalservicename", "aws:principalservicenameslist":
		return f.caller.Service
	case resourceKey:
		return "arn:aws:service:us-east-1:" + f.owner + ":" + f.word
	}
	return f.word
}

// instance is a string of a language in which a part of an ARN that is all wildcard has
// a value fit for it.
func (f *finder) instance(l language, k *broadKey) string {
	parts := strings.SplitN(f.stranger(k), ":", 6)
	var b strings.Builder
	part := 0
	for i, e := range l {
		switch {
		case e.kind == oneRune || e.kind == foldRune:
			b.WriteRune(e.r)
			if e.r == ':' {
				part++
			}
		case !e.run:
			b.WriteByte('0')
		case len(parts) == 6 && part < 6 && (i == 0 || l[i-1].r == ':'):
			last := i == len(l)-1
			switch {
			case last && e.kind != notColon:
				b.WriteString(strings.Join(parts[part:], ":"))
			case last || l[i+1].r == ':':
				b.WriteString(parts[part])
			}
		case i == len(l)-1:
			b.WriteString(f.word)
		}
	}
	return b.String()
}

// numbersAround are the numbers in conditions, one between each two, and one beyond them
// at either end.
func numbersAround(list []*broadCondition) []string {
	var at []*big.Rat
	for _, c := range list {
		for i := range c.source.Values {
			if n := c.source.Values[i].Number; n != nil {
				at = append(at, n)
			}
		}
	}
	slices.SortFunc(at, (*big.Rat).Cmp)
	one, half := big.NewRat(1, 1), big.NewRat(1, 2)
	var out []string
	add := func(n *big.Rat) {
		// A number of a policy, half the sum of two, and their neighbours have a finite
		// decimal form.
		digits, _ := n.FloatPrec()
		out = append(out, n.FloatString(digits))
	}
	for i, n := range at {
		if i == 0 {
			add(new(big.Rat).Sub(n, one))
		} else {
			sum := new(big.Rat).Add(at[i-1], n)
			add(sum.Mul(sum, half))
		}
		add(n)
	}
	if len(at) > 0 {
		add(new(big.Rat).Add(at[len(at)-1], one))
	}
	return out
}

// datesAround does for dates what numbersAround does for numbers.
func datesAround(list []*broadCondition) []string {
	var at []time.Time
	for _, c := range list {
		at = append(at, c.times...)
	}
	slices.SortFunc(at, time.Time.Compare)
	var out []string
	add := func(t time.Time) {
		text := t.UTC().Format(time.RFC3339Nano)
		if _, ok := parseDate(text); !ok {
			text = fmt.Sprintf("%+d", t.Unix()) // a year of more than four digits
		}
		out = append(out, text)
	}
	for i, t := range at {
		if i == 0 {
			add(t.Add(-time.Hour))
		} else {
			add(at[i-1].Add(t.Sub(at[i-1]) / 2))
		}
		add(t)
	}
	if len(at) > 0 {
		add(at[len(at)-1].Add(time.Hour))
	}
	return out
}

// addressesAround are an address outside all ranges of conditions and, for each range,
// one that is in no smaller one: every address is like one of these.
func addressesAround(list []*broadCondition) []string {
	var ranges []netip.Prefix
	for _, c := range list {
		ranges = append(ranges, c.prefixes...)
	}
	ranges = append(ranges, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
	var out []string
	for _, p := range ranges {
		var within []netip.Prefix
		for _, q := range ranges {
			if q.Bits() > p.Bits() && p.Contains(q.Addr()) {
				within = append(within, q)
			}
		}
		if a, ok := addressOutside(p, within); ok {
			out = append(out, a.String())
		}
	}
	return out
}

// addressOutside finds an address of a range that is in none of some smaller ranges.
func addressOutside(p netip.Prefix, within []netip.Prefix) (netip.Addr, bool) {
	if len(within) == 0 {
		return p.Addr(), true
	}
	if slices.Contains(within, p) {
		return netip.Addr{}, false
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	bytes := p.Addr().AsSlice()
	bytes[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	addr, _ := netip.AddrFromSlice(bytes)
	for _, half := range []netip.Prefix{netip.PrefixFrom(addr, p.Bits()+1), low} {
		var in []netip.Prefix
		for _, q := range within {
			if half.Contains(q.Addr()) {
				in = append(in, q)
			}
		}
		if a, ok := addressOutside(half, in); ok {
			return a, true
		}
	}
	return netip.Addr{}, false
}

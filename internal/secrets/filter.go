package secrets

import (
	"strings"

	"arca/internal/api/smapi"
)

// secretFilter is the compiled Filters member of ListSecrets and
// BatchGetSecretValue: a secret passes when every part keeps it.
type secretFilter []filterPart

// filterPart is one filter. Among its values, the plain ones widen (a secret
// needs to match one of them, if there are any) and the negated ones narrow (it
// may match none). With everything as alternatives, two negated values would
// keep nearly every secret, which nobody can want.
type filterPart struct {
	key        string
	attributes func(s *Secret, visit func(text string) (more bool))
	plain      []filterValue
	negated    []filterValue
}

// filterValue is one value of a filter, without the "!" of a negated one.
type filterValue struct {
	text    string
	matches textMatcher
	// words is what a filter seeks that seeks words; the others take text as a prefix.
	words wordQuery
}

// textMatcher reports whether one attribute matches one filter value.
type textMatcher func(text string) bool

// compileFilters reads the filters of a request. Keys, lengths and characters
// were checked against the model already; what the model leaves open is
// answered here.
func compileFilters(filters []smapi.Filter) (secretFilter, error) {
	var compiled secretFilter
	for _, f := range filters {
		if f.Key == nil {
			return nil, smapi.InvalidParameterException.Errorf("Invalid filter key")
		}
		if len(f.Values) == 0 {
			return nil, smapi.InvalidParameterException.Errorf("Invalid filter values for key: %s", *f.Key)
		}
		part, ok := newFilterPart(*f.Key, f.Values)
		if !ok {
			return nil, smapi.InvalidParameterException.Errorf("Invalid filter key")
		}
		compiled = append(compiled, part)
	}
	return compiled, nil
}

func newFilterPart(key string, values []string) (part filterPart, ok bool) {
	part.key = key
	newValue := prefixValue
	switch key {
	case "name":
		part.attributes = func(s *Secret, visit func(string) bool) { visit(s.Name) }
	case "tag-key":
		part.attributes = func(s *Secret, visit func(string) bool) { visitTags(s, visit, true, false) }
	case "tag-value":
		part.attributes = func(s *Secret, visit func(string) bool) { visitTags(s, visit, false, true) }
	case "description":
		part.attributes = func(s *Secret, visit func(string) bool) { visit(s.Description) }
		newValue = func(text string) filterValue { return wordsValue(text, cutSpaces) }
	case "primary-region", "owning-service":
		// No secret has either attribute before replication and managed secrets exist.
		part.attributes = func(*Secret, func(string) bool) {}
	case "all":
		part.attributes = func(s *Secret, visit func(string) bool) {
			if visit(s.Name) && visit(s.Description) {
				visitTags(s, visit, true, true)
			}
		}
		newValue = func(text string) filterValue { return wordsValue(text, cutClasses) }
	default:
		return filterPart{}, false
	}
	for _, value := range values {
		if rest, negated := strings.CutPrefix(value, "!"); negated {
			part.negated = append(part.negated, newValue(rest))
		} else {
			part.plain = append(part.plain, newValue(value))
		}
	}
	return part, true
}

func prefixValue(prefix string) filterValue {
	return filterValue{text: prefix, matches: func(text string) bool { return strings.HasPrefix(text, prefix) }}
}

func wordsValue(text string, cut cutter) filterValue {
	words := newWordQuery(text, cut)
	return filterValue{text: text, matches: words.matches, words: words}
}

func visitTags(s *Secret, visit func(text string) bool, keys, values bool) {
	for _, t := range s.Tags {
		if keys && !visit(t.Key) || values && !visit(t.Value) {
			return
		}
	}
}

// keeps reports whether the secret passes, and adds to work about how many
// characters were looked at.
func (f secretFilter) keeps(s *Secret, work *int) bool {
	for i := range f {
		part := &f[i]
		if len(part.plain) > 0 && !part.anyMatches(part.plain, s, work) || part.anyMatches(part.negated, s, work) {
			return false
		}
	}
	return true
}

func (p *filterPart) anyMatches(values []filterValue, s *Secret, work *int) bool {
	for i := range values {
		matched := false
		p.attributes(s, func(text string) (more bool) {
			*work += len(text)
			matched = values[i].matches(text)
			return !matched
		})
		if matched {
			return true
		}
	}
	return false
}

// namePrefix returns a prefix that the name of every kept secret has, so that
// the walk can stay within that part of the name order. It is "" when there is
// no such limit.
func namePrefix(filters []smapi.Filter) string {
	var prefix string
	for _, f := range filters {
		if f.Key == nil || *f.Key != "name" || len(f.Values) != 1 || strings.HasPrefix(f.Values[0], "!") {
			continue
		}
		if len(f.Values[0]) > len(prefix) {
			prefix = f.Values[0]
		}
	}
	return prefix
}

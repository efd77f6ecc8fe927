package policy

import "slices"

// BroadHolds reports whether the first condition of a policy has a value that a text is
// like, as the search for broad access understands it.
func BroadHolds(doc *Document, text string) bool {
	f := newFinder(doc, Target{})
	c := f.statements[0].conditions[0]
	return slices.ContainsFunc(f.languages(c), func(l language) bool { return l.holds(text) })
}

// BroadCandidates are the values that the search tries for the first condition of a
// policy.
func BroadCandidates(doc *Document) []string {
	f := newFinder(doc, Target{})
	c := f.statements[0].conditions[0]
	list, _ := f.candidates(c.key, []demand{{cond: c, like: true}})
	return list
}

// Spell finds a text that one of each list of patterns matches, and none of the
// others. Patterns have wildcards.
func Spell(in [][]string, out []string) (text string, found, none bool) {
	union := func(list []string) (u []language) {
		for _, s := range list {
			p, _ := parsePattern(s, Position{}, patternSyntax{wildcards: true})
			u = append(u, stringLanguage(p, isEqual, nil))
		}
		return u
	}
	walks := []*walk{newWalk(union(out), false)}
	for _, list := range in {
		walks = append(walks, newWalk(union(list), true))
	}
	budget := maxBroadWork
	return spell(walks, &budget)
}

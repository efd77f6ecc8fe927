package secrets

import (
	"cmp"
	"slices"
)

// Filters that seek words are answered from the sets of secrets, or of the texts of tags,
// that have a word. One text must have all words of a value.

// described finds descriptions.
func (c *candidates) described(out numberSet, value *filterValue, sure bool) (whole bool) {
	return c.inText(out, value, sure, plainWord, spaceWord)
}

// anywhere finds any text of a secret.
func (c *candidates) anywhere(out numberSet, value *filterValue, sure bool) (whole bool) {
	return c.inText(out, value, sure, nameWord) &&
		c.inText(out, value, sure, plainWord, classWord) &&
		c.inTags(out, value, sure, func(sh *shelf) *tagTexts { return sh.tagKeys }) &&
		c.inTags(out, value, sure, func(sh *shelf) *tagTexts { return sh.tagValues })
}

// inText finds the name or the description, of which a secret has one.
func (c *candidates) inText(out numberSet, value *filterValue, sure bool, kinds ...mentionedAs) (whole bool) {
	found, whole := c.having(len(out), value, sure, len(kinds), func(sh *shelf, i int) *wordIndex { return &sh.words[kinds[i]] })
	out.or(found)
	return whole
}

// inTags finds texts of tags, and the secrets that have one.
func (c *candidates) inTags(out numberSet, value *filterValue, sure bool, tags func(*shelf) *tagTexts) (whole bool) {
	c.s.catalog.mu.RLock()
	size := len(tags(c.shelf).secrets)
	c.s.catalog.mu.RUnlock()
	found, whole := c.having(size, value, sure, 1, func(sh *shelf, _ int) *wordIndex { return &tags(sh).words })
	var texts []uint32
	found.each(func(text uint32) { texts = append(texts, text) })
	for len(texts) > 0 {
		if c.spent() {
			return false
		}
		work := 0
		c.s.catalog.mu.RLock()
		for len(texts) > 0 && work <= chunkWork {
			// If it is gone by now, or another text, no secret had it then or has it now but such as
			// have changed.
			work += packedWork + out.addAll(*tags(c.shelf).at(texts[0]))/touchesPerWork
			texts = texts[1:]
		}
		c.s.catalog.mu.RUnlock()
		c.work += work
	}
	return whole
}

// having returns the numbers that have all words of a value, by some indexes of the shelf
// taken together. If that takes too long, or a word is longer than the indexes know, there
// are others among them, or if they are to be sure, some are missing; whole is false when
// nothing can be said.
func (c *candidates) having(size int, value *filterValue, sure bool, indexes int, index func(sh *shelf, i int) *wordIndex) (all numberSet, whole bool) {
	// The longest are had by the fewest.
	sought := slices.SortedStableFunc(slices.Values(value.words.words), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	if len(sought) == 0 || sure && len(sought[0]) > maxWord {
		return nil, true
	}
	for _, word := range sought {
		switch {
		case c.spent() && sure:
			return nil, true
		case c.spent():
			return all, all != nil
		}
		word = word[:min(len(word), maxWord)]
		own, known := make(numberSet, size), true
		for i := range indexes {
			known = c.join(own, func(sh *shelf) joinable { return index(sh, i) }, word) && known
		}
		c.work += size / touchesPerWork
		switch {
		case !known && !sure:
			continue // as if all had it
		case all == nil:
			all = own
		default:
			all.and(own)
		}
		if all.empty() {
			break
		}
	}
	return all, all != nil
}

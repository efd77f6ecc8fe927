package secrets

import (
	"slices"
	"strings"

	"arca/internal/api/smapi"
)

// addTags sets tags on sec, which must be a clone: a known key gets the new value in
// its place, a new key goes to the end.
func (s *Service) addTags(sec *Secret, tags []smapi.Tag) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	before := len(sec.Tags)
	for _, t := range tags {
		at := slices.IndexFunc(sec.Tags, func(have Tag) bool { return have.Key == *t.Key })
		if at >= 0 {
			sec.Tags[at].Value = text(t.Value)
			continue
		}
		sec.Tags = append(sec.Tags, Tag{Key: *t.Key, Value: text(t.Value)})
	}
	// New values always pass, so that a quota made smaller later does not freeze them.
	if n := len(sec.Tags); n > s.quotas.Tags && n > before {
		return smapi.InvalidParameterException.Errorf("Too many tags")
	}
	return nil
}

// checkTags holds the tags of a request to the rules that the model does not state.
func checkTags(tags []smapi.Tag) error {
	seen := make(map[string]bool, len(tags))
	for _, t := range tags {
		if t.Key == nil {
			return smapi.InvalidParameterException.Errorf("Every tag must have a Key.")
		}
		if err := checkTagKey(*t.Key); err != nil {
			return err
		}
		if seen[*t.Key] {
			return smapi.InvalidParameterException.Errorf("Duplicate tag keys")
		}
		seen[*t.Key] = true
	}
	return nil
}

// checkTagKey refuses the prefix that AWS keeps for itself, in any case mix.
func checkTagKey(key string) error {
	const reserved = "aws:"
	if len(key) >= len(reserved) && strings.EqualFold(key[:len(reserved)], reserved) {
		return smapi.InvalidParameterException.Errorf("Tags beginning with aws: are reserved")
	}
	return nil
}

// wireTags is the form of tags in answers: absent when never tagged, present and
// empty when no tag is left.
func wireTags(tags []Tag) []smapi.Tag {
	if tags == nil {
		return nil
	}
	out := make([]smapi.Tag, len(tags))
	for i := range tags {
		out[i] = smapi.Tag{Key: &tags[i].Key, Value: &tags[i].Value}
	}
	return out
}

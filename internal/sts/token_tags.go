package sts

import (
	"encoding/json"
	"slices"
	"strings"

	"arca/internal/api/stsapi"
	"arca/internal/iam"
	"arca/internal/oidc"
)

// Claims by which an issuer sets tags and source identity of a session. Tags come in
// one object or, for issuers that cannot nest, as one claim for each tag.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_adding-assume-role-idp
const (
	claimTags           = "https://aws.amazon.com/tags"
	claimTagPrefix      = "https://aws.amazon.com/tags/principal_tags/"
	claimTransitive     = "https://aws.amazon.com/tags/transitive_tag_keys"
	claimSourceIdentity = "https://aws.amazon.com/source_identity"
)

func errClaim(name, problem string) error {
	return stsapi.IDPRejectedClaim.Errorf("The claim %s of the token %s.", name, problem)
}

// setTokenTags reads the claims about the session.
func (w *wish) setTokenTags(token *oidc.Token) error {
	var tags []iam.Tag
	var transitive []string
	if raw, ok := token.Claim(claimTags); ok {
		var err error
		if tags, transitive, err = nestedTags(raw); err != nil {
			return err
		}
	}
	for name, raw := range token.All() {
		key, ok := strings.CutPrefix(name, claimTagPrefix)
		if !ok {
			continue
		}
		value, ok := oneString(raw)
		if !ok {
			return errClaim(name, "is not one string")
		}
		tags = append(tags, iam.Tag{Key: key, Value: value})
	}
	if raw, ok := token.Claim(claimTransitive); ok {
		var more []string
		if json.Unmarshal(raw, &more) != nil {
			return errClaim(claimTransitive, "is not a list of strings")
		}
		transitive = append(transitive, more...)
	}
	for _, t := range tags {
		if !tagText(t.Key, 1, 128) || !tagText(t.Value, 0, 256) {
			return errClaim(claimTags, "has a tag with characters, or of a length, that tags cannot have")
		}
	}
	if len(tags) > maxTags {
		return errClaim(claimTags, "has too many tags")
	}
	if err := w.setTags(tags, transitive); err != nil {
		return err
	}
	raw, ok := token.Claim(claimSourceIdentity)
	if !ok {
		return nil
	}
	id, ok := oneString(raw)
	if !ok || !sourceIdentityForm.MatchString(id) || reserved(id) {
		return errClaim(claimSourceIdentity, "is not a source identity")
	}
	w.sourceIdentity = id
	return nil
}

// nestedTags reads {"principal_tags": {KEY: [VALUE]}, "transitive_tag_keys": [KEY]}.
func nestedTags(raw json.RawMessage) (tags []iam.Tag, transitive []string, err error) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || object == nil {
		return nil, nil, errClaim(claimTags, "is not an object")
	}
	for name, value := range object {
		switch name {
		case "principal_tags":
			var byKey map[string]json.RawMessage
			if json.Unmarshal(value, &byKey) != nil {
				return nil, nil, errClaim(claimTags, "has principal_tags that are not an object")
			}
			for key, raw := range byKey {
				value, ok := oneString(raw)
				if !ok {
					return nil, nil, errClaim(claimTags, "has a tag whose value is not one string")
				}
				tags = append(tags, iam.Tag{Key: key, Value: value})
			}
		case "transitive_tag_keys":
			if json.Unmarshal(value, &transitive) != nil {
				return nil, nil, errClaim(claimTags, "has transitive_tag_keys that are not a list of strings")
			}
		default:
			return nil, nil, errClaim(claimTags, "has a member that is not known")
		}
	}
	slices.SortFunc(tags, func(a, b iam.Tag) int { return strings.Compare(a.Key, b.Key) })
	return tags, transitive, nil
}

// oneString reads a string or a list of exactly one.
func oneString(raw json.RawMessage) (string, bool) {
	var s *string
	if json.Unmarshal(raw, &s) == nil {
		if s == nil {
			return "", false
		}
		return *s, true
	}
	var list []*string
	if json.Unmarshal(raw, &list) != nil || len(list) != 1 || list[0] == nil {
		return "", false
	}
	return *list[0], true
}

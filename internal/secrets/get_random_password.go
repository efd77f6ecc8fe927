package secrets

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/envelope"
)

const (
	defaultPasswordLength = 32

	lowercase   = "abcdefghijklmnopqrstuvwxyz"
	uppercase   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	numbers     = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

// GetRandomPassword draws a password uniformly among all those that satisfy the
// request. A space, where it is allowed, is never required.
func (s *Service) GetRandomPassword(ctx context.Context, c *call.Call, in *smapi.GetRandomPasswordInput) (*smapi.GetRandomPasswordOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "secretsmanager:GetRandomPassword", Resource: "*"}); err != nil {
		return nil, err
	}
	rules, err := passwordRulesOf(in)
	if err != nil {
		return nil, err
	}
	password := envelope.NewPlaintext(rules.draw())
	defer password.Wipe()
	out := api.SensitiveString(password.Bytes())
	return &smapi.GetRandomPasswordOutput{RandomPassword: &out}, nil
}

// passwordRules say which passwords may be drawn.
type passwordRules struct {
	length   int
	alphabet []byte
	required [][]byte // at least one character of each; never empty ones
}

func passwordRulesOf(in *smapi.GetRandomPasswordInput) (passwordRules, error) {
	rules := passwordRules{length: defaultPasswordLength}
	if in.PasswordLength != nil {
		rules.length = int(*in.PasswordLength)
	}
	requireEach := in.RequireEachIncludedType == nil || *in.RequireEachIncludedType
	emptied := false
	for _, class := range []struct {
		chars    string
		excluded *bool
	}{
		{lowercase, in.ExcludeLowercase},
		{uppercase, in.ExcludeUppercase},
		{numbers, in.ExcludeNumbers},
		{punctuation, in.ExcludePunctuation},
	} {
		if isTrue(class.excluded) {
			continue
		}
		chars := withoutExcluded(class.chars, in)
		rules.alphabet = append(rules.alphabet, chars...)
		if requireEach {
			rules.required = append(rules.required, chars)
			emptied = emptied || len(chars) == 0
		}
	}
	if isTrue(in.IncludeSpace) {
		rules.alphabet = append(rules.alphabet, withoutExcluded(" ", in)...)
	}
	// AWS's texts for an empty alphabet and an emptied type are not known.
	switch {
	case len(rules.alphabet) == 0:
		return passwordRules{}, smapi.InvalidParameterException.Errorf("The password can't be generated because all characters are excluded.")
	case rules.length < len(rules.required):
		return passwordRules{}, smapi.InvalidParameterException.Errorf("Password length is too short based on the required types.")
	case emptied:
		return passwordRules{}, smapi.InvalidParameterException.Errorf("The password can't be generated because all characters of a required type are excluded.")
	}
	return rules, nil
}

func withoutExcluded(chars string, in *smapi.GetRandomPasswordInput) []byte {
	kept := []byte(chars)
	if in.ExcludeCharacters == nil {
		return kept
	}
	excluded := []byte(*in.ExcludeCharacters)
	return slices.DeleteFunc(kept, func(b byte) bool { return bytes.IndexByte(excluded, b) >= 0 })
}

// draw repeats whole passwords until one holds every required class. Placing one
// character of each class and shuffling would make some passwords likelier than
// others. The worst case (length 4, three classes of one character, all
// punctuation) takes about 2,000 tries of 4 characters; the default takes two.
func (p passwordRules) draw() []byte {
	password := make([]byte, p.length)
	for {
		fillUniform(password, p.alphabet)
		if p.complete(password) {
			return password
		}
	}
}

func (p passwordRules) complete(password []byte) bool {
	for _, class := range p.required {
		if !bytes.ContainsAny(password, string(class)) {
			return false
		}
	}
	return true
}

// fillUniform fills dst with independent, equally likely characters of the
// alphabet, which has at most 256. Random bytes past the last whole multiple of
// the alphabet's size are thrown away, since they would favour its beginning.
func fillUniform(dst, alphabet []byte) {
	usable := 256 - 256%len(alphabet)
	random := make([]byte, len(dst)+len(dst)/2+8)
	defer clear(random)
	for filled := 0; filled < len(dst); {
		// crypto/rand.Read never returns an error; it ends the process instead.
		_, _ = rand.Read(random)
		for _, b := range random {
			if int(b) >= usable {
				continue
			}
			dst[filled] = alphabet[int(b)%len(alphabet)]
			if filled++; filled == len(dst) {
				break
			}
		}
	}
}

func isTrue(b *bool) bool { return b != nil && *b }

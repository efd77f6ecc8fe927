package secrets_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/api/smapi"
	"arca/internal/secrets"
)

func filterOf(key string, values ...string) smapi.Filter {
	return smapi.Filter{Key: &key, Values: values}
}

func named(name string) *secrets.Secret     { return &secrets.Secret{Name: name} }
func described(text string) *secrets.Secret { return &secrets.Secret{Name: "n", Description: text} }
func tagged(pairs ...string) *secrets.Secret {
	s := &secrets.Secret{Name: "n"}
	for i := 0; i < len(pairs); i += 2 {
		s.Tags = append(s.Tags, secrets.Tag{Key: pairs[i], Value: pairs[i+1]})
	}
	return s
}

func TestCutClasses(t *testing.T) {
	for text, want := range map[string][]string{
		"":                      nil,
		"+":                     nil,
		"SecretOne":             {"Secret", "One"},
		"SecretFTag":            {"Secret", "F", "Tag"},
		"uat/COMPANY/x":         {"uat", "COMPANY", "x"},
		"uat/COMPANYthings/x":   {"uat", "COMPAN", "Ythings", "x"},
		"Thirdsecret":           {"Thirdsecret"},
		"db2Main":               {"db", "2", "Main"},
		"MAIN2db":               {"MAIN", "2", "db"},
		"a-b/c_d+e=f.g@h i":     {"a", "b", "c", "d", "e", "f", "g", "h", "i"},
		"ABc":                   {"A", "Bc"},
		"A":                     {"A"},
		"Übergrößen-ÄÖÜ":        {"Übergrößen", "ÄÖÜ"},
		"日本 語":                  {"日本", "語"},
		"bad\xffbyte":           {"bad", "byte"},
		"trailing punctuation!": {"trailing", "punctuation"},
	} {
		if diff := cmp.Diff(want, secrets.CutClasses(text)); diff != "" {
			t.Errorf("words of %q (-want +got):\n%s", text, diff)
		}
	}
}

// The rows marked verified stand in the behaviour notes as seen on AWS.
func TestFilterKeeps(t *testing.T) {
	full := &secrets.Secret{
		Name: "SecretOneFull", Description: "DescTwo of the app",
		Tags: []secrets.Tag{{Key: "Team", Value: "payments"}, {Key: "stage", Value: "Prod"}},
	}
	for _, tc := range []struct {
		name   string
		filter smapi.Filter
		secret *secrets.Secret
		want   bool
	}{
		{"name prefix", filterOf("name", "pro"), named("prod/db"), true},
		{"name prefix is not a substring", filterOf("name", "db"), named("prod/db"), false},
		{"name prefix minds case", filterOf("name", "Prod"), named("prod/db"), false},
		{"name, one of several", filterOf("name", "x", "prod"), named("prod/db"), true},
		{"name, empty value", filterOf("name", ""), named("prod/db"), true},
		{"verified: name negated drops", filterOf("name", "!/"), named("/prod"), false},
		{"verified: name negated keeps", filterOf("name", "!/"), named("prod"), true},
		{"name, negated and plain: both hold", filterOf("name", "pro", "!dev"), named("prod"), true},
		{"name, negated within plain", filterOf("name", "pro", "!prod"), named("prod"), false},
		{"name, negated twice keeps neither", filterOf("name", "!a", "!b"), named("a"), false},
		{"name, only the first ! negates", filterOf("name", "!!a"), named("a"), true},
		{"name, nothing but !", filterOf("name", "!"), named("a"), false},

		{"tag key", filterOf("tag-key", "sta"), full, true},
		{"tag key minds case", filterOf("tag-key", "team"), full, false},
		{"tag key is not the value", filterOf("tag-key", "payments"), full, false},
		{"tag value", filterOf("tag-value", "pay"), full, true},
		{"tag value minds case", filterOf("tag-value", "prod"), full, false},
		{"tag value is not the key", filterOf("tag-value", "Team"), full, false},
		{"tag key of none", filterOf("tag-key", "a"), named("a"), false},
		{"tag key negated drops", filterOf("tag-key", "!stage"), full, false},
		{"tag key negated keeps untagged", filterOf("tag-key", "!stage"), named("a"), true},

		{"verified: description words", filterOf("description", "one two"), described("one and two"), true},
		{"verified: description word prefixes", filterOf("description", "o t"), described("one and two"), true},
		{"verified: description one prefix", filterOf("description", "t"), described("one and two"), true},
		{"description needs all words", filterOf("description", "one three"), described("one and two"), false},
		{"verified: a in a secret", filterOf("description", "a"), described("a secret"), true},
		{"verified: a in an secret", filterOf("description", "a"), described("an secret"), true},
		{"verified: a in asecret", filterOf("description", "a"), described("asecret"), true},
		{"verified: a in thesecret", filterOf("description", "a"), described("thesecret"), false},
		{"verified: a secret in a secret", filterOf("description", "a secret"), described("a secret"), true},
		{"verified: a secret in an secret", filterOf("description", "a secret"), described("an secret"), true},
		{"verified: a secret in asecret", filterOf("description", "a secret"), described("asecret"), false},
		{"verified: a secret in thesecret", filterOf("description", "a secret"), described("thesecret"), false},
		{"verified: !a in a secret", filterOf("description", "!a"), described("a secret"), false},
		{"verified: !a in thesecret", filterOf("description", "!a"), described("thesecret"), true},
		{"verified: !c in a secret", filterOf("description", "!c"), described("a secret"), true},
		{"verified: !c in asecret", filterOf("description", "!c"), described("asecret"), true},
		{"description without case", filterOf("description", "ONE"), described("One"), true},
		{"description absent", filterOf("description", "a"), named("a"), false},
		{"description absent, negated", filterOf("description", "!a"), named("a"), true},
		{"description, value without words", filterOf("description", " "), described("a"), false},
		{"description keeps punctuation in words", filterOf("description", "my-db"), described("the my-db password"), true},

		{"verified: all SecretOne", filterOf("all", "SecretOne"), named("SecretOneFull"), true},
		{"verified: all Secret", filterOf("all", "Secret"), named("SecretOneFull"), true},
		{"verified: all secret", filterOf("all", "secret"), named("SecretOneFull"), true},
		{"verified: all sec", filterOf("all", "sec"), named("SecretOneFull"), true},
		{"verified: all t in Thirdsecret", filterOf("all", "t"), named("Thirdsecret"), true},
		{"verified: all secret in Thirdsecret", filterOf("all", "secret"), named("Thirdsecret"), false},
		{"verified: all ret", filterOf("all", "ret"), named("SecretOneFull"), false},
		{"verified: all d", filterOf("all", "d"), described("DescTwo"), true},
		{"verified: all t", filterOf("all", "t"), described("DescTwo"), true},
		{"verified: all d t", filterOf("all", "d t"), described("DescTwo"), true},
		{"verified: all t in SecretFTag", filterOf("all", "t"), named("SecretFTag"), true},
		{"verified: all company", filterOf("all", "company"), named("uat/COMPANY/x"), true},
		{"verified: all company in COMPANYthings", filterOf("all", "company"), named("uat/COMPANYthings/x"), false},
		{"verified: all Ythings", filterOf("all", "Ythings"), named("uat/COMPANYthings/x"), true},
		{"verified: all things", filterOf("all", "things"), named("uat/COMPANYthings/x"), false},
		{"verified: all pany", filterOf("all", "pany"), named("uat/COMPANYthings/x"), false},
		{"verified: all N", filterOf("all", "N"), named("uat/COMPANYthings/x"), false},
		{"verified: all AppBeta", filterOf("all", "AppBeta"), named("prod/AppBeta/x"), true},
		{"verified: all Beta", filterOf("all", "Beta"), named("prod/AppBeta/x"), true},
		{"verified: all x", filterOf("all", "x"), named("prod/AppBeta/x"), true},
		{"verified: all + finds nothing", filterOf("all", "+"), named("prod+AppBeta+x"), false},
		{"all, two kinds of separator", filterOf("all", "Beta"), named("prod-AppBeta/x"), true},
		{"all in a tag key", filterOf("all", "team"), full, true},
		{"all in a tag value", filterOf("all", "prod"), full, true},
		{"all words in one attribute", filterOf("all", "secret desc"), full, false},
		{"all negated", filterOf("all", "!payments"), full, false},
		{"all negated keeps", filterOf("all", "!other"), full, true},

		{"primary region of none", filterOf("primary-region", "eu"), full, false},
		{"primary region of none, negated", filterOf("primary-region", "!eu"), full, true},
		{"owning service of none", filterOf("owning-service", "rds"), full, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := secrets.FilterKeeps([]smapi.Filter{tc.filter}, tc.secret)
			if err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("%s %q on %q/%q = %v, want %v", *tc.filter.Key, tc.filter.Values, tc.secret.Name, tc.secret.Description, got, tc.want)
			}
		})
	}
	for _, sep := range []string{"_", "+", "=", ".", "@", "-", "/"} {
		for _, value := range []string{"AppBeta", "Beta", "x"} {
			name := "prod" + sep + "AppBeta" + sep + "x"
			if got, _ := secrets.FilterKeeps([]smapi.Filter{filterOf("all", value)}, named(name)); !got {
				t.Errorf("verified: all %q does not find %q", value, name)
			}
		}
	}
}

func TestFiltersCombineWithAnd(t *testing.T) {
	s := tagged("app", "one", "stage", "prod")
	for _, tc := range []struct {
		name    string
		filters []smapi.Filter
		want    bool
	}{
		{"none", nil, true},
		{"two that match", []smapi.Filter{filterOf("tag-key", "app"), filterOf("tag-value", "prod")}, true},
		{"second does not", []smapi.Filter{filterOf("tag-key", "app"), filterOf("tag-value", "dev")}, false},
		{"same key twice, both match", []smapi.Filter{filterOf("tag-key", "app"), filterOf("tag-key", "stage")}, true},
		{"same key twice, one does not", []smapi.Filter{filterOf("tag-key", "app"), filterOf("tag-key", "owner")}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := secrets.FilterKeeps(tc.filters, s)
			if err != nil || got != tc.want {
				t.Errorf("keeps = %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func TestFilterErrors(t *testing.T) {
	key := "name"
	for _, tc := range []struct {
		name   string
		filter smapi.Filter
		want   string
	}{
		{"no key", smapi.Filter{Values: []string{"a"}}, "InvalidParameterException: Invalid filter key"},
		{"no values", smapi.Filter{Key: &key}, "InvalidParameterException: Invalid filter values for key: name"},
		{"unknown key", filterOf("colour", "red"), "InvalidParameterException: Invalid filter key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := secrets.FilterKeeps([]smapi.Filter{tc.filter}, named("a"))
			if err == nil || err.Error() != tc.want {
				t.Errorf("error = %v, want %s", err, tc.want)
			}
		})
	}
}

// Words never overlap, stand in order, hold no separator, and every text is
// found by each of its own words.
func FuzzCutClasses(f *testing.F) {
	for _, seed := range []string{"", "SecretOne", "uat/COMPANYthings/x", "a1B2c3", "ÄÖÜß日本\xff", "  --  "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 300 {
			return // every word is looked up in the whole text
		}
		rest := text
		for _, word := range secrets.CutClasses(text) {
			at := strings.Index(rest, word)
			if at < 0 {
				t.Fatalf("word %q of %q is out of order", word, text)
			}
			rest = rest[at+len(word):]
			if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsPunct(r) }) {
				t.Errorf("word %q of %q holds a separator", word, text)
			}
			if !utf8.ValidString(word) || len(word) > 200 || strings.ToLower(word) != word && utf8.RuneCountInString(word) != len(word) {
				continue // lower-casing such a word may change how it is cut
			}
			if got, err := secrets.FilterKeeps([]smapi.Filter{filterOf("all", word)}, named(text)); err != nil || !got {
				t.Errorf("word %q does not find its text %q: %v", word, text, err)
			}
		}
	})
}

func TestFilterNegationIsComplement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom([]string{"name", "tag-key", "tag-value", "description", "all"}).Draw(t, "key")
		value := rapid.StringMatching(`[a-cA-C0-1 /-]{1,6}`).Draw(t, "value")
		text := rapid.StringMatching(`[a-cA-C0-1 /-]{1,12}`)
		s := &secrets.Secret{
			Name: text.Draw(t, "name"), Description: text.Draw(t, "description"),
			Tags: []secrets.Tag{{Key: text.Draw(t, "tag key"), Value: text.Draw(t, "tag value")}},
		}
		plain, err := secrets.FilterKeeps([]smapi.Filter{filterOf(key, value)}, s)
		if err != nil {
			t.Fatal(err)
		}
		negated, err := secrets.FilterKeeps([]smapi.Filter{filterOf(key, "!"+value)}, s)
		if err != nil || plain == negated {
			t.Fatalf("%s %q: plain %v, negated %v, %v", key, value, plain, negated, err)
		}
	})
}

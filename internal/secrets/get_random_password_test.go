package secrets_test

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/api/smapi"
	"arca/internal/audit"
	"arca/internal/secrets"
)

const (
	lowers = "abcdefghijklmnopqrstuvwxyz"
	uppers = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
	puncts = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

func TestGetRandomPasswordRules(t *testing.T) {
	yes, no := new(true), new(false)
	for _, tc := range []struct {
		name     string
		in       smapi.GetRandomPasswordInput
		length   int
		alphabet string
		each     []string // classes of which every password holds a character
		err      string
	}{
		{name: "defaults", length: 32, alphabet: lowers + uppers + digits + puncts, each: []string{lowers, uppers, digits, puncts}},
		{name: "shortest with each type", in: smapi.GetRandomPasswordInput{PasswordLength: new(int64(4))}, length: 4,
			alphabet: lowers + uppers + digits + puncts, each: []string{lowers, uppers, digits, puncts}},
		{name: "longest", in: smapi.GetRandomPasswordInput{PasswordLength: new(int64(4096))}, length: 4096,
			alphabet: lowers + uppers + digits + puncts, each: []string{lowers, uppers, digits, puncts}},
		{name: "one character, types not required", in: smapi.GetRandomPasswordInput{PasswordLength: new(int64(1)), RequireEachIncludedType: no},
			length: 1, alphabet: lowers + uppers + digits + puncts},
		{name: "digits alone", in: smapi.GetRandomPasswordInput{PasswordLength: new(int64(1)), ExcludeLowercase: yes, ExcludeUppercase: yes, ExcludePunctuation: yes},
			length: 1, alphabet: digits, each: []string{digits}},
		{name: "space alone", in: smapi.GetRandomPasswordInput{ExcludeNumbers: yes, ExcludeLowercase: yes, ExcludeUppercase: yes, ExcludePunctuation: yes, IncludeSpace: yes},
			length: 32, alphabet: " "},
		{name: "space is not required", in: smapi.GetRandomPasswordInput{PasswordLength: new(int64(4)), IncludeSpace: yes},
			length: 4, alphabet: lowers + uppers + digits + puncts + " ", each: []string{lowers, uppers, digits, puncts}},
		{name: "excluded characters", in: smapi.GetRandomPasswordInput{ExcludeCharacters: new("abc012\"@/\\é")},
			length: 32, alphabet: lowers[3:] + uppers + digits[3:] + strings.NewReplacer("\"", "", "@", "", "/", "", "\\", "").Replace(puncts)},
		{name: "excluded space", in: smapi.GetRandomPasswordInput{ExcludeCharacters: new(" "), IncludeSpace: yes},
			length: 32, alphabet: lowers + uppers + digits + puncts},
		{name: "emptied type that is not required", in: smapi.GetRandomPasswordInput{ExcludeCharacters: new(digits), RequireEachIncludedType: no},
			length: 32, alphabet: lowers + uppers + puncts},
		{name: "few characters left", in: smapi.GetRandomPasswordInput{PasswordLength: new(int64(4)), ExcludeCharacters: new(lowers[1:] + uppers[1:] + digits[1:])},
			length: 4, alphabet: "aA0" + puncts, each: []string{"a", "A", "0", puncts}},

		{name: "too short for the types", in: smapi.GetRandomPasswordInput{PasswordLength: new(int64(3))},
			err: "InvalidParameterException: Password length is too short based on the required types."},
		{name: "too short for two types", in: smapi.GetRandomPasswordInput{PasswordLength: new(int64(1)), ExcludeNumbers: yes, ExcludePunctuation: yes},
			err: "InvalidParameterException: Password length is too short based on the required types."},
		{name: "every type excluded", in: smapi.GetRandomPasswordInput{ExcludeNumbers: yes, ExcludeLowercase: yes, ExcludeUppercase: yes, ExcludePunctuation: yes},
			err: "InvalidParameterException: The password can't be generated because all characters are excluded."},
		{name: "every character excluded", in: smapi.GetRandomPasswordInput{ExcludeCharacters: new(lowers + uppers + digits + puncts)},
			err: "InvalidParameterException: The password can't be generated because all characters are excluded."},
		{name: "required type emptied", in: smapi.GetRandomPasswordInput{ExcludeCharacters: new(digits)},
			err: "InvalidParameterException: The password can't be generated because all characters of a required type are excluded."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 20 {
				got, err := secrets.DrawPassword(&tc.in)
				if tc.err != "" {
					if err == nil || err.Error() != tc.err {
						t.Fatalf("error = %v, want %s", err, tc.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != tc.length {
					t.Fatalf("length = %d, want %d", len(got), tc.length)
				}
				if rest := strings.Trim(got, tc.alphabet); rest != "" {
					t.Fatalf("characters outside the alphabet in %q", got)
				}
				for _, class := range tc.each {
					if !strings.ContainsAny(got, class) {
						t.Fatalf("%q holds none of %q", got, class)
					}
				}
			}
		})
	}
}

// Whatever is asked, the answer is an error or a password that obeys the request.
func TestGetRandomPasswordProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := smapi.GetRandomPasswordInput{
			PasswordLength:     new(int64(rapid.IntRange(1, 64).Draw(t, "length"))),
			ExcludeCharacters:  new(rapid.StringOfN(rapid.SampledFrom([]rune(lowers+uppers+digits+puncts+" ")), 0, 60, -1).Draw(t, "excluded")),
			ExcludeLowercase:   new(rapid.Bool().Draw(t, "no lower")),
			ExcludeUppercase:   new(rapid.Bool().Draw(t, "no upper")),
			ExcludeNumbers:     new(rapid.Bool().Draw(t, "no digits")),
			ExcludePunctuation: new(rapid.Bool().Draw(t, "no punctuation")),
			IncludeSpace:       new(rapid.Bool().Draw(t, "space")),
		}
		requireEach := rapid.Bool().Draw(t, "require each")
		in.RequireEachIncludedType = &requireEach
		got, err := secrets.DrawPassword(&in)
		if err != nil {
			return
		}
		if int64(len(got)) != *in.PasswordLength || strings.ContainsAny(got, *in.ExcludeCharacters) {
			t.Fatalf("password %q breaks length or exclusion", got)
		}
		for _, class := range []struct {
			chars    string
			excluded bool
		}{{lowers, *in.ExcludeLowercase}, {uppers, *in.ExcludeUppercase}, {digits, *in.ExcludeNumbers}, {puncts, *in.ExcludePunctuation}} {
			if has := strings.ContainsAny(got, class.chars); has && class.excluded || !has && !class.excluded && requireEach {
				t.Fatalf("password %q: class %q present %v", got, class.chars, has)
			}
		}
		if !*in.IncludeSpace && strings.Contains(got, " ") {
			t.Fatalf("password %q holds a space", got)
		}
	})
}

// Characters are equally likely: a chi-squared statistic over 94 characters stays
// below a bound that chance exceeds less than once in a billion runs.
func TestGetRandomPasswordIsUniform(t *testing.T) {
	alphabet := lowers + uppers + digits + puncts
	in := smapi.GetRandomPasswordInput{PasswordLength: new(int64(4096)), RequireEachIncludedType: new(false)}
	counts := map[byte]int{}
	const draws = 50
	for range draws {
		got, err := secrets.DrawPassword(&in)
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(got) {
			counts[got[i]]++
		}
	}
	expected := float64(draws*4096) / float64(len(alphabet))
	var chi float64
	for i := range len(alphabet) {
		chi += math.Pow(float64(counts[alphabet[i]])-expected, 2) / expected
	}
	// 93 degrees of freedom: mean 93, standard deviation 13.6.
	if chi > 200 {
		t.Errorf("chi-squared = %.1f over %d characters, want about 93", chi, len(alphabet))
	}
}

func TestGetRandomPassword(t *testing.T) {
	b := newBed(t)
	in := &smapi.GetRandomPasswordInput{PasswordLength: new(int64(40)), ExcludePunctuation: new(true)}
	first := must[smapi.GetRandomPasswordOutput](t, b, smapi.OpGetRandomPassword, in)
	second := must[smapi.GetRandomPasswordOutput](t, b, smapi.OpGetRandomPassword, in)
	if *first.RandomPassword == *second.RandomPassword || len(*first.RandomPassword) != 40 {
		t.Error("two passwords are equal or have not the length that was asked for")
	}
	if asked := b.questions(); len(asked) != 2 || asked[0].Action != "secretsmanager:GetRandomPassword" || asked[0].Resource != "*" {
		t.Errorf("the authorizer was asked %+v, want GetRandomPassword on *", asked)
	}
	err := audit.Scan(t.Context(), b.logDir, 0, func(_ uint64, line []byte) error {
		if strings.Contains(string(line), string(*first.RandomPassword)) {
			t.Error("the audit log holds the password")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, b, smapi.OpGetRandomPassword, &smapi.GetRandomPasswordInput{PasswordLength: new(int64(1))},
		"InvalidParameterException: Password length is too short based on the required types.")
	b.denies(t, "GetRandomPassword")
	refused(t, b, smapi.OpGetRandomPassword, &smapi.GetRandomPasswordInput{PasswordLength: new(int64(1))}, denial("GetRandomPassword"))
}

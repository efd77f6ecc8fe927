package secretsmanager_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const (
	lower       = "abcdefghijklmnopqrstuvwxyz"
	upper       = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits      = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

func TestGetRandomPassword(t *testing.T) {
	k := newKit(t)
	yes, no := aws.Bool(true), aws.Bool(false)
	for _, tc := range []struct {
		name     string
		in       secretsmanager.GetRandomPasswordInput
		length   int
		alphabet string
		each     []string // one character of each is there
	}{
		{"default", secretsmanager.GetRandomPasswordInput{}, 32, lower + upper + digits + punctuation, []string{lower, upper, digits, punctuation}},
		{"shortest", secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(4)}, 4, lower + upper + digits + punctuation, []string{lower, upper, digits, punctuation}},
		{"one character", secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(1), RequireEachIncludedType: no}, 1, lower + upper + digits + punctuation, nil},
		{"longest", secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(4096)}, 4096, lower + upper + digits + punctuation, []string{lower, upper, digits, punctuation}},
		{"letters", secretsmanager.GetRandomPasswordInput{ExcludeNumbers: yes, ExcludePunctuation: yes}, 32, lower + upper, []string{lower, upper}},
		{"digits", secretsmanager.GetRandomPasswordInput{ExcludeLowercase: yes, ExcludeUppercase: yes, ExcludePunctuation: yes}, 32, digits, []string{digits}},
		{"some excluded", secretsmanager.GetRandomPasswordInput{ExcludeCharacters: aws.String(lower[:25] + punctuation), ExcludePunctuation: yes}, 32, "z" + upper + digits, []string{"z", upper, digits}},
		{"spaces", secretsmanager.GetRandomPasswordInput{IncludeSpace: yes, PasswordLength: aws.Int64(4096), ExcludePunctuation: yes}, 4096, lower + upper + digits + " ", []string{lower, upper, digits, " "}},
	} {
		out, err := k.GetRandomPassword(k.ctx(), &tc.in)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		got := aws.ToString(out.RandomPassword)
		if len(got) != tc.length {
			t.Errorf("%s: %d characters, want %d", tc.name, len(got), tc.length)
		}
		if left := strings.Trim(got, tc.alphabet); left != "" {
			t.Errorf("%s: %q has characters out of %q", tc.name, got, tc.alphabet)
		}
		for _, class := range tc.each {
			if !strings.ContainsAny(got, class) {
				t.Errorf("%s: %q has no character of %q", tc.name, got, class)
			}
		}
	}
	wantMembers(t, ask(t, "GetRandomPassword", in{}), "RandomPassword")
}

func TestGetRandomPasswordErrors(t *testing.T) {
	k := newKit(t)
	password := func(in secretsmanager.GetRandomPasswordInput) error {
		_, err := k.GetRandomPassword(k.ctx(), &in)
		return err
	}
	wantInvalid(t, password(secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(4097)}),
		"Value '4097' at 'passwordLength' failed to satisfy constraint: Member must have value less than or equal to 4096")
	wantInvalid(t, password(secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(0)}),
		"Value '0' at 'passwordLength' failed to satisfy constraint: Member must have value greater than or equal to 1")
	wantError[*types.InvalidParameterException](t, password(secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(3)}),
		"Password length is too short based on the required types.")
	all := aws.Bool(true)
	// Which of the two codes AWS has for these is not known, nor the texts.
	wantError[*types.InvalidParameterException](t, password(secretsmanager.GetRandomPasswordInput{ExcludeLowercase: all, ExcludeUppercase: all, ExcludeNumbers: all, ExcludePunctuation: all}), "")
	wantError[*types.InvalidParameterException](t, password(secretsmanager.GetRandomPasswordInput{ExcludeCharacters: aws.String(digits)}), "")
}

package rotator

import (
	"context"
	"strconv"
	"strings"

	"arca/internal/api/smapi"
)

// defaultExclude are characters that have a meaning in connection strings and shells.
const defaultExclude = `:/@"'\`

// newPassword has Secrets Manager make a password by the rules of the function's
// environment, whose variables are those of AWS's templates.
func (r *rotation) newPassword(ctx context.Context) (string, error) {
	exclude, ok := r.cfg.Environment["EXCLUDE_CHARACTERS"]
	if !ok {
		exclude = defaultExclude
	}
	in := &smapi.GetRandomPasswordInput{ExcludeCharacters: &exclude}
	length := int64(32)
	if text, ok := r.cfg.Environment["PASSWORD_LENGTH"]; ok {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return "", errorf(InvalidEvent, "PASSWORD_LENGTH is not a number")
		}
		length = n
	}
	in.PasswordLength = &length
	for _, v := range []struct {
		name  string
		unset bool
		to    **bool
	}{
		{"EXCLUDE_NUMBERS", false, &in.ExcludeNumbers},
		{"EXCLUDE_PUNCTUATION", false, &in.ExcludePunctuation},
		{"EXCLUDE_UPPERCASE", false, &in.ExcludeUppercase},
		{"EXCLUDE_LOWERCASE", false, &in.ExcludeLowercase},
		{"REQUIRE_EACH_INCLUDED_TYPE", true, &in.RequireEachIncludedType},
	} {
		value := v.unset
		if text, ok := r.cfg.Environment[v.name]; ok {
			switch strings.ToLower(text) {
			case "true", "1", "y", "yes":
				value = true
			case "false", "0", "n", "no", "":
				value = false
			default:
				return "", errorf(InvalidEvent, "%s is neither true nor false", v.name)
			}
		}
		*v.to = &value
	}
	out, err := call[smapi.GetRandomPasswordOutput](ctx, r, smapi.OpGetRandomPassword, in)
	if err != nil {
		return "", err
	}
	if out.RandomPassword == nil || *out.RandomPassword == "" {
		return "", errorf(ServiceError, "GetRandomPassword: no password in the answer")
	}
	password := string(*out.RandomPassword)
	r.hide(password)
	return password, nil
}

package trail

import (
	"strings"
)

// secretSuffixLen is the hyphen and the six characters that AWS adds to the name of a
// secret in its ARN.
const secretSuffixLen = 7

// arnParts takes an ARN apart as far as finding resources needs it. Package arn is
// stricter: here whatever callers sent is to be found again.
func arnParts(name string) (service, region, account, rest string, ok bool) {
	if !strings.HasPrefix(name, "arn:") {
		return "", "", "", "", false
	}
	p := strings.SplitN(name, ":", 6)
	if len(p) != 6 || p[5] == "" {
		return "", "", "", "", false
	}
	return p[2], p[3], p[4], p[5], true
}

// appendNames appends the names under which a resource may be known: as it was sent and,
// for an ARN, what it ends in; for the ARN of a secret also without the characters that
// were added to its name.
func appendNames(dst []string, name string) []string {
	dst = append(dst, name)
	service, _, _, rest, ok := arnParts(name)
	if !ok {
		return dst
	}
	if service == "secretsmanager" {
		_, tail, ok := strings.Cut(rest, ":")
		if !ok || tail == "" {
			return dst
		}
		dst = append(dst, tail)
		if n := len(tail) - secretSuffixLen; n > 0 && tail[n] == '-' {
			dst = append(dst, tail[:n])
		}
		return dst
	}
	if function, ok := strings.CutPrefix(rest, "function:"); ok && service == "lambda" {
		function, _, _ = strings.Cut(function, ":") // without its version
		if function != "" {
			dst = append(dst, function)
		}
		return dst
	}
	if i := strings.LastIndexAny(rest, "/:"); i >= 0 && i < len(rest)-1 {
		dst = append(dst, rest[i+1:])
	}
	return dst
}

// appendIndexed appends the names that the index has for a resource: those of appendNames
// but for an ARN itself, of which it has the end.
func appendIndexed(dst []string, name string) []string {
	n := len(dst)
	dst = appendNames(dst, name)
	if len(dst) == n+1 {
		return dst
	}
	return append(dst[:n], dst[n+1:]...)
}

// sameResource reports whether the resource that somebody asks for may be the one that
// an event of this account and region names. They may name it differently, by ARN and
// by name. Two whole ARNs must be equal: a secret that was made again is another one. A
// secret's ARN without the characters that were added to its name fits all of these.
func sameResource(asked, named, account, region string) bool {
	if asked == named {
		return true
	}
	_, askedRegion, askedAccount, _, askedARN := arnParts(asked)
	_, _, _, _, namedARN := arnParts(named)
	switch {
	case askedARN && namedARN:
		return partialOf(asked, named) || partialOf(named, asked)
	case askedARN:
		if askedAccount != "" && askedAccount != account || askedRegion != "" && askedRegion != region {
			return false
		}
		return contains(appendNames(nil, asked)[1:], named)
	case namedARN:
		return contains(appendNames(nil, named)[1:], asked)
	}
	return false
}

// partialOf reports whether part is the ARN of a secret as callers may shorten it: without
// the characters that were added to the secret's name.
func partialOf(full, part string) bool {
	return len(full) == len(part)+secretSuffixLen && strings.HasPrefix(full, part) && full[len(part)] == '-' &&
		isSecret(part)
}

func isSecret(arn string) bool {
	service, _, _, rest, ok := arnParts(arn)
	return ok && service == "secretsmanager" && strings.HasPrefix(rest, "secret:")
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

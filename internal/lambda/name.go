package lambda

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"arca/internal/api/lambdaapi"
	"arca/internal/arn"
	"arca/internal/call"
)

// latest is the one version that functions have.
const latest = "$LATEST"

// name is a function as a request names it. Members that the request leaves out are
// those of the caller.
type name struct {
	partition, region, account string
	function                   string
	qualifier                  string // "" without one
}

// region is how the pattern of function names has it.
var regionForm = regexp.MustCompile(`^(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}$`)

// parseName reads a name, a partial ARN or an ARN, with or without a qualifier. Each
// part is what the published pattern takes it for: the first that it can be.
func parseName(text string) (n name, ok bool) {
	rest := text
	if arn.IsARN(text) {
		parts := strings.SplitN(text, ":", 4)
		if len(parts) != 4 || parts[2] != "lambda" {
			return name{}, false
		}
		n.partition, rest = parts[1], parts[3]
	}
	parts := strings.Split(rest, ":")
	take := func() string {
		p := parts[0]
		parts = parts[1:]
		return p
	}
	if len(parts) > 1 && regionForm.MatchString(parts[0]) {
		n.region = take()
	}
	if len(parts) > 1 && arn.ValidAccount(parts[0]) {
		n.account = take()
	}
	if len(parts) > 1 && parts[0] == "function" {
		take()
	} else if n.partition != "" {
		return name{}, false
	}
	n.function = take()
	if len(parts) > 0 {
		n.qualifier = take()
	}
	if n.partition != "" && (n.region == "" || n.account == "") {
		return name{}, false
	}
	return n, len(parts) == 0 && n.function != ""
}

// named reads the name in a request of c. The qualifier, where the operation has one,
// must be that of the name if both are given.
func named(c *call.Call, text string, qualifier *string) (name, error) {
	n, ok := parseName(text)
	if !ok {
		return name{}, lambdaapi.InvalidParameterValueException.Errorf("The function name %s is invalid.", text)
	}
	if utf8.RuneCountInString(n.function) > maxNameChars {
		return name{}, invalidMember(n.function, "functionName", "have length less than or equal to 64")
	}
	if n.region != "" && n.region != c.Region || n.partition != "" && n.partition != c.Partition {
		return name{}, lambdaapi.ResourceNotFoundException.Errorf("Functions from '%s' are not reachable in this region ('%s')", n.region, c.Region)
	}
	n.partition, n.region = c.Partition, c.Region
	if n.account == "" {
		n.account = c.Caller.Account
	}
	if qualifier != nil {
		if n.qualifier != "" && n.qualifier != *qualifier {
			return name{}, lambdaapi.InvalidParameterValueException.Errorf("The derived qualifier from the function name does not match the specified qualifier.")
		}
		n.qualifier = *qualifier
	}
	return n, nil
}

// arn is the unqualified ARN of what is named.
func (n name) arn() string { return arnOf(n.account, n.region, n.function) }

// qualified is the ARN with the qualifier that was given.
func (n name) qualified() string {
	if n.qualifier == "" {
		return n.arn()
	}
	return n.arn() + ":" + n.qualifier
}

// invalidMember words a value that breaks a limit of Lambda's that no model states, as
// those are worded that one does.
func invalidMember(value, member, rule string) error {
	return lambdaapi.ValidationException.Errorf("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must %s", value, member, rule)
}

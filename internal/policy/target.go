package policy

import "strings"

// maxActionBytes bounds action patterns; the longest names of AWS have about 80.
const maxActionBytes = 256

// actions reads an Action or NotAction element.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html
func (p *parser) actions(n node, element string) (Actions, *SyntaxError) {
	block := Actions{Position: n.at, Not: element == "NotAction"}
	values, err := stringList(n, "action")
	if err != nil {
		return Actions{}, err.withText("Policy statement must contain actions.")
	}
	for _, v := range values {
		a, err := parseAction(v)
		if err != nil {
			return Actions{}, err
		}
		if p.stsOnly && !strings.EqualFold(a.Service, "sts") {
			return Actions{}, bad(v.at, "action %s is none of STS", quote(v.text)).
				withText("AssumeRole policy may only specify STS AssumeRole actions.")
		}
		block.List = append(block.List, a)
	}
	return block, nil
}

func parseAction(n node) (Action, *SyntaxError) {
	a := Action{Position: n.at}
	if n.text == "*" || n.text == "*:*" {
		a.Service, a.Name = "*", "*"
		return a, nil
	}
	var ok bool
	a.Service, a.Name, ok = strings.Cut(n.text, ":")
	switch {
	case !ok || a.Service == "" || a.Name == "":
		return Action{}, bad(n.at, "action %s does not have the form service:name", quote(n.text)).
			withText("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
	case strings.Contains(a.Name, ":"):
		return Action{}, bad(n.at, "action %s has more than one colon", quote(n.text)).
			withText("Actions/Condition can contain only one colon.")
	case !wordOf(a.Service, "-"):
		return Action{}, bad(n.at, "the service of action %s is not made of letters, digits and hyphens", quote(n.text)).
			withText("Vendor %s is not valid", clip(a.Service))
	case !wordOf(a.Name, "-_.*?") || len(n.text) > maxActionBytes:
		return Action{}, bad(n.at, "the name in action %s is not made of letters, digits and wildcards", quote(n.text))
	}
	return a, nil
}

// wordOf reports whether s is made of ASCII letters, digits and the characters of
// others.
func wordOf(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(others, c) >= 0) {
			return false
		}
	}
	return true
}

// resources reads a Resource or NotResource element.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
func (p *parser) resources(n node, element string) (*Resources, *SyntaxError) {
	block := &Resources{Position: n.at, Not: element == "NotResource"}
	values, err := stringList(n, "resource")
	if err != nil {
		return nil, err.withText("Policy statement must contain resources.")
	}
	for _, v := range values {
		r, err := p.oneResource(v)
		if err != nil {
			return nil, err
		}
		block.List = append(block.List, r)
	}
	return block, nil
}

func (p *parser) oneResource(n node) (Resource, *SyntaxError) {
	if n.text != "*" {
		if err := p.checkResource(n); err != nil {
			return Resource{}, err
		}
	}
	pattern, err := parsePattern(n.text, n.at, patternSyntax{wildcards: true, variables: p.variables})
	if err != nil {
		return Resource{}, err
	}
	return Resource{Position: n.at, Pattern: pattern}, nil
}

// checkResource checks that a resource is an ARN with wildcards. A final * may stand
// for all parts that are missing; partition and service are never missing.
func (p *parser) checkResource(n node) *SyntaxError {
	refuse := func(why string) *SyntaxError {
		return bad(n.at, "resource %s %s", quote(n.text), why).
			withText("Resource %s must be in ARN format or \"*\".", clip(n.text))
	}
	for _, c := range n.text {
		if c < ' ' || c == 0x7f {
			return refuse("holds a control character")
		}
	}
	parts := strings.SplitN(n.text, ":", 6)
	if parts[0] != "arn" || len(parts) < 3 {
		return refuse(`is not an ARN or "*"`)
	}
	if len(parts) < 6 && !strings.HasSuffix(n.text, "*") {
		return refuse("has fewer than the six parts of an ARN")
	}
	partition, service := parts[1], parts[2]
	if partition != "aws" && !strings.HasPrefix(partition, "aws-") && !strings.ContainsAny(partition, "*?") || !wordOf(partition, "-*?") {
		return refuse("has no known partition").
			withText("Partition \"%s\" is not valid for resource \"%s\".", clip(partition), clip(n.text))
	}
	if service == "" || !wordOf(service, "-") {
		return refuse("does not name a service")
	}
	for _, part := range parts[3:min(len(parts), 5)] {
		// This also keeps variables out: they stand for parts of the resource only.
		if !wordOf(part, "-*?") {
			return refuse("has a region or account that is none")
		}
	}
	if len(parts) == 6 && parts[5] == "" {
		return refuse("names nothing")
	}
	return nil
}

package sigv4

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Parse makes s the signature of a request: from the Authorization header, or from a
// presigned query. It verifies nothing; what it refuses could not verify. The order
// of the checks, which decides the text a client gets, is AWS's.
//
// The request's header is kept until Verify and must not change meanwhile.
func (s *Signed) Parse(r *Request) *Failure {
	var query []param
	presigned := false
	if r.RawQuery != "" {
		var ok bool
		if query, ok = parseQuery(r.RawQuery); !ok {
			if len(r.Header["Authorization"]) == 0 {
				return incomplete("The query string cannot be decoded.")
			}
			return mismatch()
		}
		presigned = slices.ContainsFunc(query, func(p param) bool {
			return p.name == "X-Amz-Algorithm" || p.name == "X-Amz-Credential" || p.name == "X-Amz-Signature"
		})
	}
	auth := r.Header["Authorization"]
	switch {
	case presigned && len(auth) > 0:
		return invalid("Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")
	case presigned:
		return s.parsePresigned(r, query)
	case len(auth) == 0 || len(auth) == 1 && auth[0] == "":
		return missing()
	case len(auth) > 1:
		return incomplete("There must be only one 'Authorization' header.")
	}
	return s.parseHeader(r, auth[0])
}

// parts are the raw fields common to both forms.
type parts struct{ algorithm, credential, signedHeaders, signature, date string }

func (s *Signed) parseHeader(r *Request, auth string) *Failure {
	var p parts
	var rest string
	p.algorithm, rest, _ = strings.Cut(strings.TrimLeft(auth, " \t"), " ")
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.Trim(part, " \t")
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return incomplete("Invalid key=value pair (missing equal-sign) in Authorization header" +
				" (hashed with SHA-256 and encoded with Base64): '" + hashed(auth) + "'.")
		}
		var field *string
		switch name {
		case "Credential":
			field = &p.credential
		case "SignedHeaders":
			field = &p.signedHeaders
		case "Signature":
			field = &p.signature
		default:
			return incomplete("Authorization header holds an unknown parameter" +
				" (hashed with SHA-256 and encoded with Base64): '" + hashed(auth) + "'.")
		}
		if *field != "" {
			return incomplete("Authorization header holds '" + name + "' more than once.")
		}
		*field = value
	}

	var once [5]string
	for i, name := range [...]string{"X-Amz-Date", "Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256", "X-Amz-Target"} {
		values := r.Header[name]
		if len(values) > 1 {
			return incomplete("There must be only one '" + name + "' header.")
		}
		once[i] = first(values)
	}
	p.date = cmp.Or(once[0], once[1])

	var b strings.Builder
	if p.credential == "" {
		b.WriteString("Authorization header requires 'Credential' parameter. ")
	}
	if p.signature == "" {
		b.WriteString("Authorization header requires 'Signature' parameter. ")
	}
	if p.signedHeaders == "" {
		b.WriteString("Authorization header requires 'SignedHeaders' parameter. ")
	}
	if p.date == "" {
		b.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
	}
	if b.Len() > 0 {
		b.WriteString("(Hashed with SHA-256 and encoded with Base64) Authorization=" + hashed(auth))
		return incomplete(b.String())
	}
	*s = Signed{SessionToken: once[2], payload: once[3], req: *r}
	return s.fill(p)
}

func (s *Signed) parsePresigned(r *Request, query []param) *Failure {
	var p parts
	var token, payload, expires string
	seen := make(map[string]bool)
	for _, q := range query {
		// Names are compared without case here because services read theirs so:
		// SDKs move X-Amz-Target into the query in either case.
		lower := strings.ToLower(q.name)
		if strings.HasPrefix(lower, "x-amz-") {
			if seen[lower] {
				return incomplete("AWS query-string parameters must appear only once: '" + shown(q.name) + "'.")
			}
			seen[lower] = true
		}
		switch q.name {
		case "X-Amz-Algorithm":
			p.algorithm = q.value
		case "X-Amz-Credential":
			p.credential = q.value
		case "X-Amz-Date":
			p.date = q.value
		case "X-Amz-SignedHeaders":
			p.signedHeaders = q.value
		case "X-Amz-Signature":
			p.signature = q.value
		case "X-Amz-Security-Token":
			token = q.value
		case "X-Amz-Content-Sha256":
			payload = q.value
		case "X-Amz-Expires":
			expires = q.value
		}
	}
	var b strings.Builder
	for _, f := range [...]struct{ name, value string }{
		{"X-Amz-Algorithm", p.algorithm},
		{"X-Amz-Credential", p.credential},
		{"X-Amz-Signature", p.signature},
		{"X-Amz-SignedHeaders", p.signedHeaders},
		{"X-Amz-Date", p.date},
	} {
		if f.value == "" {
			b.WriteString("AWS query-string parameters must include '" + f.name + "'. ")
		}
	}
	if b.Len() > 0 {
		return incomplete(b.String() + "Re-examine the query-string parameters.")
	}
	for _, name := range [...]string{"X-Amz-Security-Token", "X-Amz-Content-Sha256", "X-Amz-Target"} {
		n := len(r.Header[name])
		if seen[strings.ToLower(name)] {
			n++
		}
		if n > 1 {
			return incomplete("There must be only one '" + name + "', in the query string or as a header.")
		}
	}
	if token == "" {
		token = first(r.Header["X-Amz-Security-Token"])
	}
	if payload == "" {
		payload = first(r.Header["X-Amz-Content-Sha256"])
	}
	*s = Signed{SessionToken: token, payload: payload, Presigned: true, query: query, req: *r}
	if f := s.fill(p); f != nil {
		return f
	}
	if seen["x-amz-expires"] {
		n, err := strconv.ParseUint(expires, 10, 32)
		if err != nil || n == 0 {
			return incomplete("X-Amz-Expires should be a number of seconds, at least 1.")
		}
		if s.expires = time.Duration(n) * time.Second; s.expires > maxExpires {
			return incomplete("X-Amz-Expires must be less than a week (in seconds);" +
				" that is, the given X-Amz-Expires must be at most 604800 seconds")
		}
	}
	return nil
}

// fill checks the fields both forms have in common, in AWS's order: date, signed
// headers, algorithm, credential.
func (s *Signed) fill(p parts) *Failure {
	if !s.setTime(p.date) {
		return incomplete("Date must be in ISO-8601 'basic format'. Got '" + shown(p.date) +
			"'. See http://en.wikipedia.org/wiki/ISO_8601")
	}
	if !s.setHeaders(p.signedHeaders) {
		return incomplete("'SignedHeaders' must be header names in lower case, sorted, each once.")
	}
	if _, ok := slices.BinarySearch(s.headers(), "host"); !ok {
		return invalid("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	if name := s.unsigned(); name != "" {
		return invalid("'" + shown(name) + "' must be a 'SignedHeader' in the AWS Authorization.")
	}
	if p.algorithm != algorithm {
		return incomplete("Unsupported AWS 'algorithm': '" + shown(p.algorithm) + "' (only " + algorithm + " for now). ")
	}
	if strings.Count(p.credential, "/") != 4 {
		return incomplete("Credential must have exactly 5 slash-delimited elements," +
			" e.g. keyid/date/region/service/term, got '" + shown(p.credential) + "'")
	}
	rest := p.credential
	for _, field := range [...]*string{&s.AccessKeyID, &s.Day, &s.Region, &s.Service, &s.terminator} {
		*field, rest, _ = strings.Cut(rest, "/")
	}
	s.signature = p.signature
	return nil
}

// setHeaders takes the list of signed headers apart.
func (s *Signed) setHeaders(list string) bool {
	if n := 1 + strings.Count(list, ";"); n > len(s.few) {
		s.many = make([]string, 0, n)
	}
	before := ""
	for name := range strings.SplitSeq(list, ";") {
		if !headerName(name) || name <= before { // no name is ""
			return false
		}
		before = name
		if s.many != nil {
			s.many = append(s.many, name)
			continue
		}
		s.few[s.n] = name
		s.n++
	}
	return true
}

// unsigned names an x-amz-* header that the request holds and the signature does
// not cover, the first by name. Two are exempt because they mean nothing to us and
// are put in or left out on the way: some SDKs keep X-Amz-User-Agent unsigned, and
// CloudFront adds X-Amz-Cf-Id.
func (s *Signed) unsigned() string {
	var found string
	headers := s.headers()
	for name := range s.req.Header {
		if len(name) <= len("x-amz-") || name[0]|' ' != 'x' || !strings.EqualFold(name[:len("x-amz-")], "x-amz-") {
			continue
		}
		if _, ok := slices.BinarySearchFunc(headers, name, compareLower); ok {
			continue
		}
		if name == "X-Amz-User-Agent" || name == "X-Amz-Cf-Id" {
			continue
		}
		if found == "" || name < found {
			found = name
		}
	}
	return found
}

// compareLower compares a lower-case name with one of any case.
func compareLower(lower, name string) int {
	for i := range min(len(lower), len(name)) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if lower[i] != c {
			return int(lower[i]) - int(c)
		}
	}
	return len(lower) - len(name)
}

// headerName reports whether s is an HTTP header name without upper-case letters.
func headerName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// setTime reads X-Amz-Date's form, and for a Date header also HTTP's.
func (s *Signed) setTime(text string) bool {
	var ok bool
	if s.Time, ok = parseStamp(text); ok {
		s.stamp = text
		return true
	}
	for _, layout := range [...]string{time.RFC1123, time.RFC1123Z} {
		// A zone by any other name would be taken as UTC.
		if layout == time.RFC1123 && !strings.HasSuffix(text, " GMT") {
			continue
		}
		if t, err := time.Parse(layout, text); err == nil {
			s.Time = t.UTC().Truncate(time.Second)
			s.stamp = string(appendStamp(nil, s.Time))
			return true
		}
	}
	return false
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

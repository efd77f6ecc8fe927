package wire

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"arca/internal/api"
)

// Router finds the operation a request asks for. The client names it in the request
// itself; the scope of its credentials has no say, and must later be found to name
// the service the router chose. A Router is immutable.
type Router struct {
	targets map[string]*api.Operation // by the value of X-Amz-Target
	actions map[action]*api.Operation
	routes  []restRoute
}

// action is how the Query protocol names an operation.
type action struct{ version, name string }

// NewRouter returns a router over all operations of the services. Two operations that
// one request could name, and protocols without a codec here, are refused.
func NewRouter(services ...*api.Service) (*Router, error) {
	r := &Router{targets: map[string]*api.Operation{}, actions: map[action]*api.Operation{}}
	for _, s := range services {
		for _, op := range s.Operations {
			switch s.Protocol {
			case api.JSON11:
				targets := []string{s.TargetPrefix + "." + op.Name}
				if s.Namespace != "" {
					targets = append(targets, s.Namespace+"."+targets[0])
				}
				for _, target := range targets {
					if r.targets[target] != nil {
						return nil, fmt.Errorf("two operations have the target %s", target)
					}
					r.targets[target] = op
				}
			case api.Query:
				a := action{s.Version, op.Name}
				if r.actions[a] != nil {
					return nil, fmt.Errorf("two operations are the action %s of version %s", a.name, a.version)
				}
				r.actions[a] = op
			case api.RESTJSON:
				route := newRESTRoute(op)
				if !isRESTPath(op.Path) || slices.ContainsFunc(r.routes, route.overlaps) {
					return nil, fmt.Errorf("operation %s cannot be told by its path %s %s", op.Name, op.Method, op.Path)
				}
				r.routes = append(r.routes, route)
			default:
				return nil, fmt.Errorf("service %s: no codec for its protocol", s.Name)
			}
		}
	}
	return r, nil
}

// ProtocolOf tells what protocol a request looks like before its operation is known:
// one whose client could read a refusal.
func ProtocolOf(req *http.Request) api.Protocol {
	if isRESTPath(req.URL.Path) {
		return api.RESTJSON
	}
	switch mediaTypeOf(req.Header) {
	case contentTypeForm:
		return api.Query
	case "":
		if namesAction(req.URL.RawQuery) {
			return api.Query
		}
	}
	return api.JSON11
}

// Route returns the operation that the request names. AWS services are told apart
// by host name; here they share one URL, so a request that could be meant for two of
// them (a target together with an Action or with a path) is refused instead of
// letting one selector win: a signature made for one operation must never run another.
//
// input is where DecodeInput finds the operation's input: the body, or the query of
// the URL for Query requests that were presigned. Errors are for RenderError with
// frontEnd set. Where the path names the operation, DecodeRequest looks at the rest of
// the request as well.
func (r *Router) Route(req *http.Request, body []byte) (op *api.Operation, input []byte, err *api.Error) {
	targets := req.Header.Values(HeaderTarget)
	mediaType := mediaTypeOf(req.Header)
	form := mediaType == contentTypeForm
	inURL := namesAction(req.URL.RawQuery)
	if len(targets) > 0 && (len(targets) > 1 || inURL || form && namesAction(string(body))) {
		return nil, nil, api.UnknownOperationException.Errorf("")
	}
	if req.URL.Path != "/" && req.URL.Path != "" {
		op, err = r.byPath(req, len(targets) > 0 || inURL || form && namesAction(string(body)))
		return op, body, err
	}
	post := req.Method == http.MethodPost
	switch {
	case len(targets) > 0 && post && mediaType == ContentTypeJSON11:
		if op = r.targets[targets[0]]; op == nil {
			return nil, nil, api.UnknownOperationException.Errorf("")
		}
		return op, body, nil
	case len(targets) > 0:
		return nil, nil, wrongContentType.Errorf("")
	case inURL && len(body) == 0 && (req.Method == http.MethodGet || post) && (form || mediaType == ""):
		input = []byte(req.URL.RawQuery)
	case form && post:
		// A signature would cover parameters of the URL, too. But whoever reads only one
		// of the two places would see another request than the one that runs.
		if !onlySigned(req.URL.RawQuery) {
			return nil, nil, malformedQuery("Parameters must be given in the body or in the URL, not in both.")
		}
		input = body
	case post && mediaType == ContentTypeJSON11:
		return nil, nil, api.UnknownOperationException.Errorf("")
	default:
		return nil, nil, wrongContentType.Errorf("")
	}
	op, err = r.action(input)
	return op, input, err
}

// action returns the operation that the parameters name.
func (r *Router) action(input []byte) (*api.Operation, *api.Error) {
	var a action
	var named, versioned bool
	n := 0
	var refusal *api.Error
	read := eachParam(input, func(name, value []byte) bool {
		if n++; n > maxParams {
			refusal = malformedQuery("The request has too many parameters.")
			return false
		}
		var field *string
		var seen *bool
		switch string(name) {
		case paramAction:
			field, seen = &a.name, &named
		case paramVersion:
			field, seen = &a.version, &versioned
		default:
			return true
		}
		if *seen {
			refusal = malformedQuery("Action and Version must be given only once.")
			return false
		}
		value, ok := unescapeForm(value)
		*field, *seen = string(value), true
		return ok
	})
	switch {
	case refusal != nil:
		return nil, refusal
	case !read:
		return nil, malformedQuery("The query string contains a syntax error.")
	case a.name == "":
		return nil, api.MissingAction.Errorf("The request is missing an action or a required parameter.")
	}
	op := r.actions[a]
	if op == nil {
		if a.version == "" {
			a.version = "NO_VERSION_SPECIFIED"
		}
		return nil, api.InvalidAction.Errorf("Could not find operation %s for version %s", quotable(a.name), quotable(a.version))
	}
	return op, nil
}

// quotable cuts a part of the request down to what may stand in an error text.
func quotable(s string) string {
	const most = 128
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// onlySigned reports whether a URL's query holds nothing but the parameters of a
// signature.
func onlySigned(query string) bool {
	return eachParam([]byte(query), func(name, _ []byte) bool {
		return len(name) > len("x-amz-") && strings.EqualFold(string(name[:len("x-amz-")]), "x-amz-")
	})
}

// mediaTypeOf returns the one content type of a request in lower case and without
// parameters, or "" when there is none, several, or an unreadable one.
func mediaTypeOf(h http.Header) string {
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return ""
	}
	// The common case needs no parser.
	if values[0] == ContentTypeJSON11 {
		return ContentTypeJSON11
	}
	t, _, err := mime.ParseMediaType(values[0])
	if err != nil {
		return ""
	}
	return t
}

// namesAction reports whether there is an Action among parameters, as requests of the
// Query protocol have one in their URL or form. Parts that cannot be read are passed
// over.
func namesAction(params string) bool {
	if params == "" {
		return false
	}
	for part := range strings.SplitSeq(params, "&") {
		name, _, _ := strings.Cut(part, "=")
		if decoded, ok := unescapeForm([]byte(name)); ok && string(decoded) == paramAction {
			return true
		}
	}
	return false
}

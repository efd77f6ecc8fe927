package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"arca/internal/compliance"
)

// complianceResult is what a rule says about one secret.
type complianceResult struct {
	RuleName       string `json:"RuleName"`
	ResourceType   string `json:"ResourceType"`
	ResourceID     string `json:"ResourceId"`
	ResourceName   string `json:"ResourceName"`
	AccountID      string `json:"AccountId"`
	Region         string `json:"Region"`
	ComplianceType string `json:"ComplianceType"`
	Annotation     string `json:"Annotation"`
}

// complianceRule is a rule, and how many secrets stand how with it.
type complianceRule struct {
	RuleName        string            `json:"RuleName"`
	InputParameters map[string]string `json:"InputParameters"`
	Compliant       int64             `json:"Compliant"`
	NonCompliant    int64             `json:"NonCompliant"`
	NotApplicable   int64             `json:"NotApplicable"`
}

// count adds a secret in a state.
func (r *complianceRule) count(state string) {
	switch state {
	case compliance.Compliant.String():
		r.Compliant++
	case compliance.NonCompliant.String():
		r.NonCompliant++
	case compliance.NotApplicable.String():
		r.NotApplicable++
	}
}

const (
	formatTable = "table"
	formatCSV   = "csv"
)

func newCompliance(env *environment) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "compliance",
		Short: "Hold all secrets against AWS Config's rules for secrets",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	endpointFlag(cmd, &endpoint)
	cmd.AddCommand(newComplianceReport(env, &endpoint))
	return cmd
}

func newComplianceReport(env *environment, endpoint *string) *cobra.Command {
	var format, rule, account, region string
	var bad, fail bool
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Say of every secret which rules it keeps",
		Long: `Say of every secret of every account which of AWS Config's rules for secrets it keeps. The
parameters of the rules are the server's, from its configuration. It is for the root of
the server's first account.

The table ends with the sums; JSON and CSV are for programs. With --fail the command ends
with status 3 when a secret does not keep a rule.`,
		Example: `  arca compliance report --non-compliant
  arca compliance report --rule secretsmanager-secret-unused --format csv > unused.csv`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := newReport(env.out, format)
			if err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			in := map[string]any{"MaxResults": searchPage}
			for name, v := range map[string]string{"RuleName": rule, "Account": account, "Region": region} {
				if v != "" {
					in[name] = v
				}
			}
			if bad {
				in["ComplianceType"] = compliance.NonCompliant.String()
			}
			rules, err := eachResult(cmd.Context(), c, in, report.add)
			if err != nil {
				return interrupted(cmd.Context(), err)
			}
			if err := report.end(rules); err != nil {
				return err
			}
			for _, r := range rules {
				if fail && r.NonCompliant > 0 {
					return errProblems
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", formatTable, "form of the report: table, json, csv")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{formatTable, outputJSON, formatCSV}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&rule, "rule", "", "only the rule with this `name`")
	_ = cmd.RegisterFlagCompletionFunc("rule", cobra.FixedCompletions(ruleNames(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&account, "account", "", "only secrets of the account with this `id` or name")
	_ = cmd.RegisterFlagCompletionFunc("account", accountNames(env, endpoint))
	cmd.Flags().StringVar(&region, "region", "", "only secrets in this `region`")
	cmd.Flags().BoolVar(&bad, "non-compliant", false, "only secrets that do not keep a rule")
	cmd.Flags().BoolVar(&fail, "fail", false, "end with status 3 when a secret does not keep a rule")
	return cmd
}

func ruleNames() []cobra.Completion {
	var names []cobra.Completion
	for _, r := range compliance.Rules() {
		names = append(names, string(r))
	}
	return names
}

// eachResult visits what DescribeCompliance lists, page by page. It returns the rules that
// were asked about, with the sums of what it has visited.
func eachResult(ctx context.Context, c *client, in map[string]any, fn func(*complianceResult) error) (rules []complianceRule, err error) {
	for {
		var out struct {
			Results   []complianceResult
			Rules     []complianceRule
			NextToken string
		}
		if err := c.call(ctx, "DescribeCompliance", in, &out); err != nil {
			return nil, err
		}
		if rules == nil {
			rules = out.Rules
			for i := range rules {
				r := &rules[i]
				r.Compliant, r.NonCompliant, r.NotApplicable = 0, 0, 0 // the server's, of a moment ago
			}
		}
		for i := range out.Results {
			for j := range rules {
				if rules[j].RuleName == out.Results[i].RuleName {
					rules[j].count(out.Results[i].ComplianceType)
				}
			}
			if err := fn(&out.Results[i]); err != nil {
				return nil, err
			}
		}
		if out.NextToken == "" {
			return rules, nil
		}
		in["NextToken"] = out.NextToken
	}
}

// complianceReport prints results as they come, and the sums at the end.
type complianceReport struct {
	add func(*complianceResult) error
	end func([]complianceRule) error
}

func newReport(out io.Writer, format string) (*complianceReport, error) {
	switch format {
	case formatTable:
		return tableReport(out), nil
	case formatCSV:
		return csvReport(out), nil
	case outputJSON:
		rows := []complianceResult{}
		return &complianceReport{
			add: func(r *complianceResult) error { rows = append(rows, *r); return nil },
			end: func(rules []complianceRule) error {
				return printJSON(out, map[string]any{"Results": rows, "Rules": rules})
			},
		}, nil
	}
	return nil, fmt.Errorf("--format %q is not table, json or csv", format)
}

func tableReport(out io.Writer) *complianceReport {
	const rowsAtOnce = 1000 // what one table holds in memory
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ACCOUNT\tREGION\tSECRET\tRULE\tSTATE\tWHY")
	n := 0
	return &complianceReport{
		add: func(r *complianceResult) error {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.AccountID, r.Region, cmp.Or(r.ResourceName, r.ResourceID), r.RuleName,
				r.ComplianceType, orDash(printable(r.Annotation)))
			if n++; n%rowsAtOnce == 0 {
				return w.Flush()
			}
			return nil
		},
		end: func(rules []complianceRule) error {
			if err := w.Flush(); err != nil {
				return err
			}
			fmt.Fprintln(out)
			fmt.Fprintln(w, "RULE\tCOMPLIANT\tNON-COMPLIANT\tNOT APPLICABLE\tPARAMETERS")
			for i := range rules {
				r := &rules[i]
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n", r.RuleName, r.Compliant, r.NonCompliant, r.NotApplicable, orDash(r.parameters()))
			}
			return w.Flush()
		},
	}
}

// parameters are those of the rule, in the order of their names.
func (r *complianceRule) parameters() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.InputParameters)) {
		parts = append(parts, name+"="+r.InputParameters[name])
	}
	return strings.Join(parts, " ")
}

func csvReport(out io.Writer) *complianceReport {
	w := csv.NewWriter(out)
	_ = w.Write([]string{"rule", "account", "region", "resource_type", "resource_id", "resource_name", "compliance", "annotation"}) // Flush tells
	return &complianceReport{
		add: func(r *complianceResult) error {
			return w.Write([]string{
				r.RuleName, r.AccountID, r.Region, r.ResourceType, r.ResourceID, inert(r.ResourceName), r.ComplianceType, inert(r.Annotation),
			})
		},
		end: func([]complianceRule) error {
			w.Flush()
			return w.Error()
		},
	}
}

// inert is text that a spreadsheet takes for text: a name that begins like a formula
// must not become one.
func inert(s string) string {
	if s == "" {
		return s
	}
	switch s[0] {
	case '=', '+', '-', '@', '\t', '\r':
		if _, err := strconv.ParseFloat(s, 64); err != nil {
			return "'" + s
		}
	}
	return s
}

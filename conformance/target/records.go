package target

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/cloudtrailapi"
	"arca/internal/api/iamapi"
	"arca/internal/api/kmsapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
	"arca/internal/audit"
	"arca/internal/audittest"
)

// maxWrongRecords is how many are told about.
const maxWrongRecords = 20

// checkRecords requires that every record of a server that has ended looks like one of
// CloudTrail: whatever the tests have called, by whichever client.
func (s *Server) checkRecords() error {
	dirs, err := filepath.Glob(filepath.Join(s.Home, "data", "audit", "*"))
	if err != nil {
		return err
	}
	services := []*api.Service{
		smapi.Service, kmsapi.Service, iamapi.Service, stsapi.Service, lambdaapi.Service, cloudtrailapi.Service, arcaapi.Service,
	}
	var wrong []string
	for _, dir := range dirs {
		err := audit.Scan(context.Background(), dir, 0, func(_ uint64, line []byte) error {
			if len(wrong) < maxWrongRecords {
				for _, problem := range audittest.Shape(line, services...) {
					wrong = append(wrong, fmt.Sprintf("%s\n\t%s", problem, line))
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("check records: %w", err)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("records that are not as CloudTrail's:\n%s", strings.Join(wrong, "\n"))
	}
	return nil
}

// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// journal is the last things that happened.
type journal struct {
	start time.Time
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	line := fmt.Sprintf("%9.3fs ", time.Since(j.start).Seconds()) + fmt.Sprintf(format, args...)
	j.lines = append(j.lines, line)
	j.lines = j.lines[max(0, len(j.lines)-60):]
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

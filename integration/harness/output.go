// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/pkg/cio"
)

// outputFiles is where the shim writes what a process says. Files, unlike pipes, need nobody who reads, so neither
// containerd nor the test has to be there while the process runs.
type outputFiles struct{ stdout, stderr string }

func (h *Harness) newOutput(name string) outputFiles {
	base := h.Path("out", h.unique(name))
	return outputFiles{stdout: base + ".stdout", stderr: base + ".stderr"}
}

// create implements cio.Creator. The shim takes the path of a regular file, if it exists, in the place of that of a
// FIFO; URIs of the scheme file would put both streams into one file.
func (o outputFiles) create(string) (cio.IO, error) {
	for _, file := range []string{o.stdout, o.stderr} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return nil, fmt.Errorf("make output file: %w", err)
		}
	}
	return fileIO{cio.Config{Stdout: o.stdout, Stderr: o.stderr}}, nil
}

// result reads what a process wrote that has ended.
func (o outputFiles) result(code int) (Result, error) {
	stdout, err := os.ReadFile(o.stdout)
	stderr, err2 := os.ReadFile(o.stderr)
	if err := errors.Join(err, err2); err != nil {
		return Result{}, fmt.Errorf("read output: %w", err)
	}
	return Result{ExitCode: code, Stdout: string(stdout), Stderr: string(stderr)}, nil
}

// fileIO is the client's side of outputFiles, which has nothing to do.
type fileIO struct{ config cio.Config }

func (f fileIO) Config() cio.Config { return f.config }
func (f fileIO) Cancel()            {}
func (f fileIO) Wait()              {}
func (f fileIO) Close() error       { return nil }

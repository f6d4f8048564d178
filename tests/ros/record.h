/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A file of lines, each written at once and whole, so that a reader sees every arrival as it
 * happens and nothing is lost when the writer is killed.
 */
#include <fcntl.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>

class Record
{
      public:
	explicit Record(const char *path)
	    : fd_(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644))
	{
	}
	Record(const Record &) = delete;
	Record &operator=(const Record &) = delete;
	~Record()
	{
		if (fd_ >= 0)
			close(fd_);
	}
	bool good() const
	{
		return fd_ >= 0;
	}
	__attribute__((format(printf, 2, 3))) void line(const char *format, ...)
	{
		char text[256];
		va_list args;
		va_start(args, format);
		int n = vsnprintf(text, sizeof(text), format, args);
		va_end(args);
		if (n > 0 && size_t(n) < sizeof(text) && write(fd_, text, size_t(n)) != n)
			perror("write");
	}

      private:
	int fd_;
};

/* SPDX-License-Identifier: BSD-2-Clause */
/* `underpass stats --watch`: what goes on, interval by interval. */
#include "cli/watch.h"

#include "cli/show.h"

#include <curses.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static enum exit_code look(const struct watch *w, json_t **result, double *when)
{
	json_t *request = json_pack("{s:s, s:b}", "command", "stats", "qps", w->qps);

	if (w->port)
		json_object_set_new(request, "port", json_string(w->port));
	*when = now_s();
	return client_call(w->client, request, result);
}

static void sleep_s(double s)
{
	struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};

	nanosleep(&t, NULL);
}

static enum exit_code watch_plain(const struct watch *w)
{
	json_t *before = NULL, *now = NULL;
	double then, when;
	enum exit_code code = look(w, &before, &then);

	while (code == EXIT_OK) {
		sleep_s(w->seconds);
		code = look(w, &now, &when);
		if (code != EXIT_OK)
			break;
		if (w->json)
			json_dumpf(now, stdout, JSON_COMPACT);
		else
			show_rates(before, now, when - then, w->qps, &stdout_sink);
		putchar('\n');
		json_decref(before);
		before = now;
		then = when;
		code = client_flush(w->client);
	}
	json_decref(before);
	return code;
}

/* Lines of the screen; the first `skip` of them are scrolled away. */
struct screen {
	int skip, at;
};

static void screen_line(void *arg, const char *text)
{
	struct screen *s = arg;
	int row = s->at++ - s->skip;

	if (row >= 0 && row < LINES - 2)
		mvaddnstr(row + 1, 0, text, COLS);
}

static void draw(const struct watch *w, struct screen *s, const json_t *before, const json_t *now,
		 double seconds)
{
	const struct sink sink = {.line = screen_line, .arg = s};

	erase();
	attron(A_REVERSE);
	mvhline(0, 0, ' ', COLS);
	mvprintw(0, 0, "underpass: %s, per second over %.1f s", w->client->dir, seconds);
	attroff(A_REVERSE);
	s->at = 0;
	show_rates(before, now, seconds, w->qps, &sink);
	mvaddnstr(LINES - 1, 0, "q: quit   up, down: scroll", COLS);
	refresh();
}

static void scroll_by(struct screen *s, int lines)
{
	s->skip += lines;
	if (s->skip > s->at - 1)
		s->skip = s->at - 1;
	if (s->skip < 0)
		s->skip = 0;
}

/* Handles keys until `end`. False: quit. */
static bool keys_until(const struct watch *w, struct screen *s, double end, const json_t *before,
		       const json_t *now, double seconds)
{
	double left;

	while ((left = end - now_s()) > 0) {
		timeout((int)(left * 1000) + 1);
		switch (getch()) {
		case 'q':
			return false;
		case KEY_UP:
			scroll_by(s, -1);
			break;
		case KEY_DOWN:
			scroll_by(s, 1);
			break;
		case KEY_PPAGE:
			scroll_by(s, 3 - LINES);
			break;
		case KEY_NPAGE:
			scroll_by(s, LINES - 3);
			break;
		case KEY_RESIZE:
			break;
		default:
			continue;
		}
		if (before)
			draw(w, s, before, now, seconds);
	}
	return true;
}

static enum exit_code watch_screen(const struct watch *w)
{
	json_t *before = NULL, *now = NULL;
	struct screen s = {0};
	double then, when, took = 0;
	enum exit_code code = look(w, &now, &then);

	if (code != EXIT_OK)
		return code;
	setlocale(LC_ALL, "");
	initscr();
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	mvprintw(0, 0, "underpass: looking for %.1f s", w->seconds);
	refresh();
	while (keys_until(w, &s, then + w->seconds, before, now, took)) {
		json_decref(before);
		before = now;
		now = NULL;
		code = look(w, &now, &when);
		if (code != EXIT_OK)
			break;
		took = when - then;
		then = when;
		draw(w, &s, before, now, took);
	}
	endwin();
	json_decref(before);
	json_decref(now);
	return code;
}

enum exit_code watch_run(const struct watch *w)
{
	if (w->json || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
		return watch_plain(w);
	return watch_screen(w);
}

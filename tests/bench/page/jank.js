/** What becomes of a page's main thread, and what a page can do to it. */

let tasks;
let observer;

/**
 * From when this resolves tasks of 50 ms and more are noted, the browser's own measure of jank.
 * The task that calls it, in which a content may have been made, is over by then.
 */
export async function watch() {
  await new Promise((resolve) => setTimeout(resolve, 100));
  tasks = [];
  observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)));
  observer.observe({ type: 'longtask' });
  return performance.now();
}

/** The longest task, and the share of the time since `start` that such tasks took. */
export function seen(start) {
  tasks.push(...observer.takeRecords().map(({ duration }) => duration));
  observer.disconnect();
  const blocked = tasks.reduce((sum, duration) => sum + duration, 0);
  return { longest: Math.max(0, ...tasks), share: blocked / (performance.now() - start), tasks: tasks.length };
}

/**
 * Has the page blocked for most of the time until `isOver`, by requests it waits for: that
 * takes no processor from anybody.
 *
 * @param {string} slow answers after a while
 * @param {number} period milliseconds from one request to the next
 * @param {() => boolean} isOver
 */
export function block(slow, period, isOver) {
  return new Promise((resolve, reject) => {
    const timer = setInterval(() => {
      if (isOver()) {
        clearInterval(timer);
        resolve();
        return;
      }
      const request = new XMLHttpRequest();
      request.open('GET', slow, false);
      try {
        request.send();
      } catch (error) {
        clearInterval(timer);
        reject(error);
      }
    }, period);
  });
}
